"""algorithms/batch"""
