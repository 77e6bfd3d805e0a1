"""Packages that add to cvbench, as others would write them, and the tests that install and run them."""
