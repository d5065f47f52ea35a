"""Review of a run's records by people: their verdicts, a local web page, and a CSV round trip."""
