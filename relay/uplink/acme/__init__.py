"""Certificates by ACME (RFC 8555). What loads cryptography (8 MiB) runs in a process that ends with it."""
