"""What samples are judged by: registry `metrics`."""
