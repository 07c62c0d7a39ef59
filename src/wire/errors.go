package wire

import (
	"errors"
	"fmt"
	"io"

	"github.com/fxamacker/cbor/v2"
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

// cborError classes what the CBOR decoder says. Its errors name types and
// fields and never a value, so that no secret gets into a log with them.
func cborError(what string, err error) error {
	var (
		elements *cbor.MaxArrayElementsError
		pairs    *cbor.MaxMapPairsError
		nested   *cbor.MaxNestedLevelError
	)
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%s: %w: %v", what, ErrTruncated, err)
	case errors.As(err, &elements), errors.As(err, &pairs), errors.As(err, &nested):
		return fmt.Errorf("%s: %w: %v", what, ErrTooLong, err)
	}
	return fmt.Errorf("%s: %w: %v", what, ErrMalformed, err)
}

func malformed(what, format string, args ...any) error {
	return fmt.Errorf("%s: %w: %s", what, ErrMalformed, fmt.Sprintf(format, args...))
}

func tooLong(what string, have, limit int) error {
	return fmt.Errorf("%s: %w: %d, at most %d", what, ErrTooLong, have, limit)
}
