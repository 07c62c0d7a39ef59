package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"time"
)

// CommandReloader runs a command with the package's name as its only argument.
type CommandReloader struct{ Path string }

// reloadTime is how long a reload command may take.
const reloadTime = 5 * time.Second

// Reload runs the command and waits for it.
func (r CommandReloader) Reload(ctx context.Context, pkg string) error {
	ctx, cancel := context.WithTimeout(ctx, reloadTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, r.Path, pkg)
	// A command that leaves a child with our pipe open must not hold us.
	cmd.WaitDelay = 100 * time.Millisecond
	out := &excerpt{max: 400}
	cmd.Stdout, cmd.Stderr = out, out
	err := cmd.Run()
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		err = fmt.Errorf("not done after %s", reloadTime)
	}
	if err != nil {
		return fmt.Errorf("reload %s by %s: %w%s", pkg, r.Path, err, out)
	}
	return nil
}

// Watched is the reloader of a gateway whose supervisor watches the
// configuration folder by itself: the rename of a written file is the request.
type Watched struct{}

// Reload has nothing left to ask for.
func (Watched) Reload(context.Context, string) error { return nil }

// excerpt keeps the first bytes of an output, for an error message.
type excerpt struct {
	b   bytes.Buffer
	max int
}

func (t *excerpt) Write(p []byte) (int, error) {
	if room := t.max - t.b.Len(); room > 0 {
		t.b.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

func (t *excerpt) String() string {
	if s := bytes.TrimSpace(t.b.Bytes()); len(s) > 0 {
		return fmt.Sprintf(": %q", s)
	}
	return ""
}

var (
	_ Reloader = CommandReloader{}
	_ Reloader = Watched{}
)
