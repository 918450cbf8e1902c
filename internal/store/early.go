package store

import "relaymarket/internal/code"

var errEarly = code.New(code.Unsupported, "not built yet")
