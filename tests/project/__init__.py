"""Tests of the tree itself: its walls, its locks, its wheel, its words."""
