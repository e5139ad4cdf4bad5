"""algorithms/quota"""
