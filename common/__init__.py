"""What all tasks share; it imports no task."""
