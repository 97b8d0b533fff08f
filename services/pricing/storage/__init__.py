"""The pricing service's tables: quotes and what they rest on, readings, targets, coach's tasks."""
