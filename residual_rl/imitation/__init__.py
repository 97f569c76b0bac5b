"""From a controller to demonstrations, and from demonstrations to a controller: `record` and `clone`."""
