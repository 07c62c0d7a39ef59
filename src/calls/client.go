package calls

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"syscall"
	"time"
)

// maxAnswer bounds what a client takes: far more than the largest home's list.
const maxAnswer = 16 << 20

// ErrNotRunning is inside the error of Do when no daemon listens.
var ErrNotRunning = errors.New("no daemon listens")

// Do makes one call and decodes its result into result, which may be nil, or a
// *json.RawMessage for the bytes as they came. A failure that the daemon
// answers is an *Error. Without a deadline in ctx it waits for 35 seconds,
// longer than a daemon takes to give up by itself.
func Do(ctx context.Context, path, name string, args Args, result any) error {
	call, ok := Lookup(name)
	if !ok {
		return Errorf(UnknownCall, "no call is named %.40q", name)
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout+5*time.Second)
	defer cancel()

	// Not net.Dial, which brings the resolver. A socket's queue that is full
	// refuses at once, so there is nothing to wait for.
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%w at %s: is `homeconf %s` running?", ErrNotRunning, path, call.Daemon)
	case errors.Is(err, fs.ErrPermission):
		return Errorf(PermissionDenied, "no right to use %s: run this as root", path)
	case err != nil:
		return fmt.Errorf("reach the %s: %w", call.Daemon, err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Now()) })()

	line, err := encodeRequest(name, args)
	if err != nil {
		return err
	}
	// A daemon that is busy answers and closes without reading, so a failed
	// write is no reason not to read.
	_, writeErr := conn.Write(line)
	var a struct {
		Result json.RawMessage `json:"result"`
		Error  *Error          `json:"error"`
	}
	err = json.NewDecoder(io.LimitReader(conn, maxAnswer)).Decode(&a)
	switch {
	case err != nil && errors.Is(ctx.Err(), context.Canceled):
		return fmt.Errorf("the call was given up: %w", ctx.Err())
	case err != nil && ctx.Err() != nil:
		return fmt.Errorf("the %s did not answer in time: %w", call.Daemon, ctx.Err())
	case err != nil:
		return fmt.Errorf("read the %s's answer: %w", call.Daemon, errors.Join(writeErr, err))
	case a.Error != nil:
		return a.Error
	case result == nil:
		return nil
	}
	if err := json.Unmarshal(a.Result, result); err != nil {
		return fmt.Errorf("understand the %s's answer to %s: %w", call.Daemon, name, err)
	}
	return nil
}

func encodeRequest(name string, args Args) ([]byte, error) {
	m := make(map[string]any, len(args))
	for k, v := range args {
		if d, ok := v.(time.Duration); ok {
			v = d.String()
		}
		m[k] = v
	}
	line, err := json.Marshal(struct {
		Call string         `json:"call"`
		Args map[string]any `json:"args,omitempty"`
	}{name, m})
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", name, err)
	}
	if len(line) > maxRequest {
		return nil, Errorf(InvalidArgument, "%s: request of more than %d bytes", name, maxRequest)
	}
	return append(line, '\n'), nil
}
