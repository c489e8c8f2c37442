"""The pipeline becomes a job: a pure function, without Azure."""
