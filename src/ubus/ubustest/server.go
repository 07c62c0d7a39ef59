package ubustest

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// Server is a server that a test may stop and start again.
type Server struct {
	// Path is its socket.
	Path string

	real   string // the program, "" for the broker
	broker *Broker
	cmd    *exec.Cmd
}

// Each runs a test against the broker, and against the real ubusd where there is
// one to run.
func Each(t *testing.T, test func(t *testing.T, s *Server)) {
	t.Run("broker", func(t *testing.T) { test(t, New(t)) })
	t.Run("ubusd", func(t *testing.T) { test(t, Real(t)) })
}

// Real starts the real ubusd, which ends with the test, or skips the test where
// there is none: no distribution but OpenWrt has one.
func Real(t testing.TB) *Server {
	t.Helper()
	real, err := exec.LookPath("ubusd")
	if err != nil {
		t.Skip("no ubusd on the PATH")
	}
	if os.Getuid() != 0 {
		t.Skip("ubusd gives rights to nobody but root")
	}
	return start(t, real)
}

// New starts a broker that ends with the test.
func New(t testing.TB) *Server {
	t.Helper()
	return start(t, "")
}

func start(t testing.TB, real string) *Server {
	t.Helper()
	// Not t.TempDir: its name, made of the test's, may be too long for a socket.
	dir, err := os.MkdirTemp("", "ubus")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s := &Server{Path: filepath.Join(dir, "ubus.sock"), real: real}
	t.Cleanup(func() {
		s.Stop()
		os.RemoveAll(dir)
	})
	s.Start(t)
	return s
}

// Start starts the server, and returns when it listens.
func (s *Server) Start(t testing.TB) {
	t.Helper()
	if s.real == "" {
		var err error
		if s.broker, err = Start(s.Path); err != nil {
			t.Fatal(err)
		}
		return
	}
	os.Remove(s.Path)
	s.cmd = exec.Command(s.real, "-s", s.Path)
	s.cmd.Stderr = os.Stderr
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		if c, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: s.Path, Net: "unix"}); err == nil {
			c.Close()
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatal("ubusd does not come up")
}

// Stop ends the server.
func (s *Server) Stop() {
	if s.broker != nil {
		s.broker.Stop()
		s.broker = nil
	}
	if s.cmd != nil {
		s.cmd.Process.Kill()
		s.cmd.Wait()
		s.cmd = nil
	}
}
