"""`visionrnn demo`: a page to try the tasks on, served on this machine alone."""
