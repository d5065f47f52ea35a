"""What is measured: one program per question, each also a verb of `evenfill bench`."""
