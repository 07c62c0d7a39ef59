package wire

import (
	"errors"
	"fmt"
)

// The reasons for which bytes are refused. Every error of a parser in this
// package wraps exactly one of them.
var (
	ErrTruncated = errors.New("truncated")           // ends before what it announces
	ErrVersion   = errors.New("unknown version")     // of the frame header
	ErrType      = errors.New("unknown frame type")  // of the frame header
	ErrTooLong   = errors.New("over a size limit")   // a frame, message, text, list or number
	ErrMalformed = errors.New("malformed")           // not what the specification says
	ErrUnknown   = errors.New("unknown or reserved") // record kind or message type
)

// Reason gives the sentinel that an error of this package wraps as a short
// word for counters, and "other" for a foreign error.
func Reason(err error) string {
	switch {
	case errors.Is(err, ErrTruncated):
		return "truncated"
	case errors.Is(err, ErrVersion):
		return "version"
	case errors.Is(err, ErrType):
		return "type"
	case errors.Is(err, ErrTooLong):
		return "too_long"
	case errors.Is(err, ErrMalformed):
		return "malformed"
	case errors.Is(err, ErrUnknown):
		return "unknown"
	}
	return "other"
}

func malformed(what, format string, args ...any) error {
	return fmt.Errorf("%s: %w: %s", what, ErrMalformed, fmt.Sprintf(format, args...))
}

func tooLong(what string, have, limit int) error {
	return fmt.Errorf("%s: %w: %d, at most %d", what, ErrTooLong, have, limit)
}
