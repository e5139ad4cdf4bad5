"""algorithms/placement"""
