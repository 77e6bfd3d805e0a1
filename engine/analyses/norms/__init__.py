"""Norms of tokens: their histogram in every layer, and the tokens whose norm stands out (Darcet et al. 2024).

measure.py  maps -> numbers of each image, and counts -> means with intervals, histograms, and where outliers lie
"""
