module ironmesh.dev/test-peers-istio

go 1.22.0

// Only the definitions of Istio's kinds are taken from it, for a real API server.
require istio.io/api v1.32.0
