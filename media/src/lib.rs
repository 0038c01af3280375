//! Packets to 20 ms frames and back, and what the frames say about speech. No I/O.
