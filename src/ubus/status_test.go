package ubus

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"testing"
)

func TestStatus(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want Status
	}{
		{nil, StatusOK},
		{fmt.Errorf("x: %w", Status(200)), 200},
		{fmt.Errorf("x: %w", fs.ErrNotExist), StatusNotFound},
		{fmt.Errorf("x: %w", fs.ErrPermission), StatusPermissionDenied},
		{context.DeadlineExceeded, StatusTimeout},
		{errors.ErrUnsupported, StatusNotSupported},
		{context.Canceled, StatusUnknownError},
		{errors.Join(errors.New("x"), StatusNoData), StatusNoData},
	} {
		if got := StatusOf(tt.err); got != tt.want {
			t.Errorf("%v is status %d, want %d", tt.err, got, tt.want)
		}
	}
	for s, want := range map[Status]error{StatusNotFound: fs.ErrNotExist, StatusPermissionDenied: fs.ErrPermission,
		StatusTimeout: context.DeadlineExceeded, StatusNotSupported: errors.ErrUnsupported} {
		if !errors.Is(s, want) || errors.Is(StatusNoData, want) {
			t.Errorf("%v and %v", s, want)
		}
	}
	for s, want := range map[Status]string{0: "success", 3: "method not found", 13: "system error", 14: "ubus status 14",
		-1: "ubus status -1"} {
		if s.Error() != want {
			t.Errorf("status %d is %q", s, s.Error())
		}
	}
}
