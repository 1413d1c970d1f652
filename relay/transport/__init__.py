"""TLS, HTTP/1.1 and HTTP/2, server and client, name discovery, routing of a request to a function."""
