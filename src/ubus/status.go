package ubus

import (
	"context"
	"errors"
	"io/fs"
	"strconv"
)

// Status is what ubus answers to every request: 0 for success, else an error.
// Providers may answer numbers that have no name.
type Status int32

// The named ones.
const (
	StatusOK Status = iota
	StatusInvalidCommand
	StatusInvalidArgument
	StatusMethodNotFound
	StatusNotFound
	StatusNoData
	StatusPermissionDenied
	StatusTimeout
	StatusNotSupported
	StatusUnknownError
	StatusConnectionFailed
	StatusNoMemory
	StatusParseError
	StatusSystemError
)

var statusTexts = [...]string{
	"success", "invalid command", "invalid argument", "method not found", "not found", "no response",
	"permission denied", "request timed out", "operation not supported", "unknown error", "connection failed",
	"out of memory", "parsing message data failed", "system error",
}

func (s Status) Error() string {
	if s >= 0 && int(s) < len(statusTexts) {
		return statusTexts[s]
	}
	return "ubus status " + strconv.Itoa(int(s))
}

// Is lets errors.Is find the errors of other packages that mean the same.
func (s Status) Is(target error) bool {
	switch s {
	case StatusNotFound:
		return target == fs.ErrNotExist
	case StatusPermissionDenied:
		return target == fs.ErrPermission
	case StatusTimeout:
		return target == context.DeadlineExceeded
	case StatusNotSupported:
		return target == errors.ErrUnsupported
	}
	return false
}

// StatusOf is the status that an error speaks for: that of the Status inside it,
// or of what it wraps; StatusOK for nil.
func StatusOf(err error) Status {
	var s Status
	switch {
	case err == nil:
		return StatusOK
	case errors.As(err, &s):
		return s
	case errors.Is(err, fs.ErrNotExist):
		return StatusNotFound
	case errors.Is(err, fs.ErrPermission):
		return StatusPermissionDenied
	case errors.Is(err, context.DeadlineExceeded):
		return StatusTimeout
	case errors.Is(err, errors.ErrUnsupported):
		return StatusNotSupported
	}
	return StatusUnknownError
}
