"""Trains networks on labelled sequences and judges them by groups of captures that they did not see."""
