"""What every task shares; knows no task."""
