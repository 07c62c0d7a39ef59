package agent

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"homeconf/src/link"
	"homeconf/src/system"
)

// TestOptionsAreReadAgain: what can be is taken over in place; another way to
// pair, or interface, has all opened anew in the same process.
func TestOptionsAreReadAgain(t *testing.T) {
	dir := t.TempDir()
	write := func(options string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, "homeconf"), []byte("config agent\n"+options), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	reload, opened := make(chan struct{}), make(chan struct{}, 10)
	var level slog.LevelVar
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	write("")
	go func() {
		ended <- Run(ctx, Config{ConfigDir: dir, StateDir: filepath.Join(dir, "state"), Device: &system.Memory{}, LogLevel: &level, Reload: reload,
			Link: func(ctx context.Context, _ func(context.Context, link.Port) error) error {
				opened <- struct{}{}
				<-ctx.Done()
				return nil
			}})
	}()
	open := func(why string) {
		t.Helper()
		select {
		case <-opened:
		case err := <-ended:
			t.Fatalf("%s: ended: %v", why, err)
		case <-time.After(20 * time.Second):
			t.Fatalf("%s: not opened", why)
		}
	}
	open("start")
	ask := func() { reload <- struct{}{}; reload <- struct{}{} } // the second is taken when the first is done

	write("\toption log_level 'debug'\n")
	ask()
	if level.Level() != slog.LevelDebug || len(opened) > 0 {
		t.Errorf("level %v, opened %d times", level.Level(), len(opened))
	}
	write("\toption interface 'eth0'\n\toption pairing 'window'\n")
	reload <- struct{}{}
	open("another way to pair")
	if level.Level() != slog.LevelInfo {
		t.Errorf("level %v", level.Level())
	}
	write("\toption interface 'wan'\n\toption pairing 'window'\n")
	reload <- struct{}{}
	open("another interface")
	write("\toption interface 'much too long a name'\n")
	ask()
	if len(opened) > 0 {
		t.Error("opened with an option that is wrong")
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
