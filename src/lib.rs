//! Offhook: a telephony-first IVR media server.
