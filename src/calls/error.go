package calls

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
)

// Code says what kind of failure an answer reports.
type Code string

// The codes.
const (
	NotFound         Code = "not_found"         // no such device, or nothing waits there
	InvalidArgument  Code = "invalid_argument"  // the request was malformed, or an argument out of its range
	Failed           Code = "failed"            // it was tried, and did not work
	PermissionDenied Code = "permission_denied" // understood, and not allowed
	UnknownCall      Code = "unknown_call"      // no such call at this daemon
	Busy             Code = "busy"              // too much at once; later it may work
)

// Error is a failure as it crosses the socket.
type Error struct {
	Code    Code   `json:"code"`
	Message string `json:"message"`
}

func (e *Error) Error() string { return e.Message }

// Errorf makes an Error. A %w in the format adds its text, no more: nothing
// but code and message crosses the socket.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Errorf(format, args...).Error()}
}

// CodeOf is the code of an error: that of the Error inside it, else what its
// cause speaks for.
func CodeOf(err error) Code { return asError(err).Code }

// asError makes an Error of any error. The whole text is kept, with the context
// that was wrapped around an Error on its way up.
func asError(err error) *Error {
	var e *Error
	switch {
	case errors.As(err, &e):
		return &Error{Code: e.Code, Message: err.Error()}
	case errors.Is(err, fs.ErrPermission):
		return &Error{Code: PermissionDenied, Message: err.Error()}
	case errors.Is(err, context.DeadlineExceeded):
		return &Error{Code: Failed, Message: "it took too long: " + err.Error()}
	case errors.Is(err, context.Canceled):
		return &Error{Code: Failed, Message: "the daemon is ending"}
	}
	return &Error{Code: Failed, Message: err.Error()}
}
