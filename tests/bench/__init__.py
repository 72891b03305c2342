"""Speed and memory of the calibration beside other IRT packages, on data whose truth is known (`make bench`)."""
