"""All solutions of a machine: gathered, described, followed."""
