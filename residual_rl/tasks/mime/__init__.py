"""The three Mime tasks: an arm with a gripper picks a cube up, carries it into a bowl, or pushes it to its place."""
