-- How a call was heard, as far as it was measured: absent where nothing came or nothing was reported.

ALTER TABLE calls ADD COLUMN loss_percent REAL;
-- Of our packets, by the far side's RTCP.
ALTER TABLE calls ADD COLUMN far_loss_percent REAL;
ALTER TABLE calls ADD COLUMN round_trip_ms REAL;
-- ITU-T G.107: 0 to 93.2, and the mean opinion score that it stands for.
ALTER TABLE calls ADD COLUMN r_factor REAL;
ALTER TABLE calls ADD COLUMN mos REAL;
ALTER TABLE calls ADD COLUMN codec TEXT;
-- The crypto suite of an encrypted call.
ALTER TABLE calls ADD COLUMN srtp TEXT;
