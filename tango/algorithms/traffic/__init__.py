"""algorithms/traffic"""
