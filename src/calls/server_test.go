package calls

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"homeconf/src/model"
)

// start serves h for the length of the test.
func start(t *testing.T, h Handler, change ...func(*Server)) (path string, stop func() error) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "run", "configurator.sock")
	s, err := Listen(path, Configurator)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range change {
		c(s)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, h) }()
	stop = sync.OnceValue(func() error { cancel(); return <-ended })
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return path, stop
}

func echo(_ context.Context, name string, args Args) (any, error) {
	switch name {
	case "status":
		return StatusResult{Home: "home", Devices: map[model.DeviceState]int{model.DeviceWaiting: 1}}, nil
	case "device_show":
		return nil, fmt.Errorf("show %s: %w", args.Device("id"), Errorf(NotFound, "no such device"))
	case "device_list":
		return nil, os.ErrPermission
	case "device_refuse":
		return nil, errors.New("it broke")
	case "plan":
		return func() {}, nil // no JSON
	}
	return DoneResult{Text: name}, nil
}

func TestCalls(t *testing.T) {
	path, _ := start(t, echo)
	var st StatusResult
	if err := Do(t.Context(), path, "status", nil, &st); err != nil || st.Home != "home" || st.Devices["waiting"] != 1 {
		t.Errorf("status: %+v, %v", st, err)
	}
	var raw json.RawMessage
	if err := Do(t.Context(), path, "pair_close", nil, &raw); err != nil || string(raw) != `{"text":"pair_close"}` {
		t.Errorf("raw: %s, %v", raw, err)
	}
	if err := Do(t.Context(), path, "pair", Args{"for": time.Minute}, nil); err != nil {
		t.Errorf("result not wanted: %v", err)
	}
	for _, tt := range []struct {
		call string
		args Args
		code Code
		text string
	}{
		{"device_show", Args{"id": "d0123456789"}, NotFound, "show d0123456789: no such device"},
		{"device_show", Args{"id": "?"}, InvalidArgument, "no device's id"},
		{"device_list", nil, PermissionDenied, "permission denied"},
		{"device_refuse", Args{"id": "d0123456789"}, Failed, "it broke"},
		{"plan", nil, Failed, "json"},
		{"agent_status", nil, UnknownCall, `the configurator has no call "agent_status"`},
		{"nonsense", nil, UnknownCall, "nonsense"},
	} {
		err := Do(t.Context(), path, tt.call, tt.args, nil)
		if err == nil || CodeOf(err) != tt.code || !strings.Contains(err.Error(), tt.text) {
			t.Errorf("%s: %v, code %v; want %s with %q", tt.call, err, CodeOf(err), tt.code, tt.text)
		}
	}
}

func TestSocketMode(t *testing.T) {
	old := syscall.Umask(0) // with no umask in the way to hide a mode that is too open
	defer syscall.Umask(old)
	path, stop := start(t, echo)
	fi, err := os.Stat(path)
	if err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("socket: %v, %v", fi.Mode(), err)
	}
	if fi, err = os.Stat(filepath.Dir(path)); err != nil || fi.Mode().Perm() != 0o700 {
		t.Errorf("run-dir: %v, %v", fi.Mode(), err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("socket is still there: %v", err)
	}
}

func TestNobodyListens(t *testing.T) {
	path := filepath.Join(t.TempDir(), "configurator.sock")
	err := Do(t.Context(), path, "status", nil, nil)
	if !errors.Is(err, ErrNotRunning) || !strings.Contains(err.Error(), "is `homeconf configurator` running?") {
		t.Errorf("no socket: %v", err)
	}
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	ln.SetUnlinkOnClose(false)
	ln.Close()
	if err := Do(t.Context(), path, "agent_status", nil, nil); !errors.Is(err, ErrNotRunning) ||
		!strings.Contains(err.Error(), "`homeconf agent`") {
		t.Errorf("dead socket: %v", err)
	}
}

func TestSecondDaemonIsRefused(t *testing.T) {
	path, stop := start(t, echo)
	_, err := Listen(path, Configurator)
	if err == nil || !strings.Contains(err.Error(), "another homeconf configurator runs already") ||
		!strings.Contains(err.Error(), fmt.Sprint(os.Getpid())) {
		t.Errorf("second daemon: %v", err)
	}
	if err := Do(t.Context(), path, "status", nil, nil); err != nil {
		t.Errorf("the first one was disturbed: %v", err)
	}
	stop()
	s, err := Listen(path, Configurator)
	if err != nil {
		t.Fatalf("after the first one ended: %v", err)
	}
	s.Close()
}

// A daemon killed by SIGKILL leaves its socket; the next one takes its place.
func TestAfterKill(t *testing.T) {
	if path := os.Getenv("CALLS_TEST_SERVE"); path != "" {
		if _, err := Listen(path, Configurator); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("listening")
		time.Sleep(time.Minute)
		os.Exit(1)
	}
	path := filepath.Join(t.TempDir(), "configurator.sock")
	cmd := exec.Command(os.Args[0], "-test.run=^TestAfterKill$")
	cmd.Env = append(os.Environ(), "CALLS_TEST_SERVE="+path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, _ := bufio.NewReader(out).ReadString('\n')
	if line != "listening\n" {
		t.Fatalf("child says %q", line)
	}
	if _, err := Listen(path, Configurator); err == nil {
		t.Error("a live daemon's socket was taken")
	}
	cmd.Process.Kill()
	cmd.Wait()
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("the killed daemon's socket: %v", err)
	}
	s, err := Listen(path, Configurator)
	if err != nil {
		t.Fatalf("after kill -9: %v", err)
	}
	s.Close()
}

func TestListenRefuses(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]string{
		"a file in the way":        file,
		"a file for a run-dir":     filepath.Join(file, "configurator.sock"),
		"a path beyond unix(7)":    filepath.Join(dir, strings.Repeat("x", 120)),
		"a folder nobody may make": "/proc/nowhere/configurator.sock",
	} {
		s, err := Listen(path, Configurator)
		if err == nil {
			s.Close()
			t.Errorf("%s: taken", name)
		}
	}
	if b, _ := os.ReadFile(file); string(b) != "mine" {
		t.Error("somebody's file was changed")
	}
}

func dial(t *testing.T, path string) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	return conn, bufio.NewReader(conn)
}

func TestManyRequestsOnOneConnection(t *testing.T) {
	path, _ := start(t, echo)
	conn, r := dial(t, path)
	fmt.Fprint(conn, "{\"call\":\"pair\"}\nnonsense\n{\"call\":\"pair_close\"}\n")
	for _, want := range []string{`{"result":{"text":"pair"}}`, `{"error":{"code":"invalid_argument",`, `{"result":{"text":"pair_close"}}`} {
		line, err := r.ReadString('\n')
		if err != nil || !strings.HasPrefix(line, want) {
			t.Fatalf("answer %q, %v; want %s", line, err, want)
		}
	}
}

func TestOversizedRequest(t *testing.T) {
	path, _ := start(t, echo)
	conn, r := dial(t, path)
	go conn.Write(append([]byte(`{"call":"`), []byte(strings.Repeat("x", 2*maxRequest))...))
	line, err := r.ReadString('\n')
	if err != nil || !strings.Contains(line, "more than 65536 bytes") {
		t.Errorf("answer %q, %v", line, err)
	}
	if err := Do(t.Context(), path, "status", nil, nil); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	// One of just the size is taken.
	conn, r = dial(t, path)
	req := `{"call":"status","args":{"pad":"`
	req += strings.Repeat("x", maxRequest-len(req)-3) + `"}}`
	go conn.Write([]byte(req + "\n"))
	if line, err := r.ReadString('\n'); err != nil || !strings.HasPrefix(line, `{"result":`) {
		t.Errorf("%d bytes: answer %q, %v", len(req), line, err)
	}
}

func TestTooManyConnections(t *testing.T) {
	path, _ := start(t, echo)
	var first net.Conn
	for range maxConns {
		conn, r := dial(t, path)
		fmt.Fprintln(conn, `{"call":"pair"}`)
		if _, err := r.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		first = conn
	}
	if err := Do(t.Context(), path, "status", nil, nil); CodeOf(err) != Busy {
		t.Errorf("one connection too many: %v", err)
	}
	first.Close()
	for range 100 {
		err := Do(t.Context(), path, "status", nil, nil)
		if err == nil {
			return
		}
		if CodeOf(err) != Busy {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("the place that became free was never given away")
}

func TestTimeouts(t *testing.T) {
	slow := func(ctx context.Context, _ string, _ Args) (any, error) {
		<-ctx.Done()
		return nil, fmt.Errorf("wait for the gateway: %w", ctx.Err())
	}
	path, _ := start(t, slow, func(s *Server) { s.limit = 50 * time.Millisecond })
	err := Do(t.Context(), path, "status", nil, nil)
	if CodeOf(err) != Failed || !strings.Contains(err.Error(), "took too long") {
		t.Errorf("slow handler: %v", err)
	}
	conn, r := dial(t, path)
	fmt.Fprint(conn, `{"call":`)
	// An error is answered, and the connection closed.
	if b, err := io.ReadAll(r); err != nil || !strings.Contains(string(b), "invalid_argument") {
		t.Errorf("half a request: %q, %v", b, err)
	}
}

func TestClientTimeout(t *testing.T) {
	release := make(chan struct{})
	path, _ := start(t, func(context.Context, string, Args) (any, error) { <-release; return nil, nil })
	defer close(release)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := Do(ctx, path, "status", nil, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	ctx, interrupt := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, interrupt)
	if err := Do(ctx, path, "status", nil, nil); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "given up") {
		t.Errorf("interrupted: %v", err)
	}
}

// The end comes in under a second, with clients that say nothing and handlers
// that don't listen; one that does gets its answer out.
func TestEnd(t *testing.T) {
	in := make(chan struct{}, 2)
	forever := make(chan struct{})
	defer close(forever)
	path, stop := start(t, func(ctx context.Context, name string, _ Args) (any, error) {
		in <- struct{}{}
		if name == "plan" {
			<-forever
		}
		<-ctx.Done()
		return nil, ctx.Err()
	})
	dial(t, path)
	deaf, _ := dial(t, path)
	fmt.Fprintln(deaf, `{"call":"plan"}`)
	answer := make(chan error, 1)
	go func() { answer <- Do(t.Context(), path, "status", nil, nil) }()
	<-in
	<-in
	began := time.Now()
	if err := stop(); err != nil {
		t.Errorf("serve: %v", err)
	}
	if d := time.Since(began); d > 900*time.Millisecond {
		t.Errorf("the end took %v", d)
	}
	if err := <-answer; err == nil || err.Error() != "the daemon is ending" {
		t.Errorf("answer at the end: %v", err)
	}
}

// One call of the largest answer that a home of 50 devices makes, connecting
// included.
func BenchmarkDeviceList(b *testing.B) {
	path := filepath.Join(b.TempDir(), "configurator.sock")
	s, err := Listen(path, Configurator)
	if err != nil {
		b.Fatal(err)
	}
	list := DevicesResult{Devices: make([]DeviceSummary, 50)}
	for i := range list.Devices {
		list.Devices[i] = DeviceSummary{ID: "d0123456789", Name: "Living room", State: model.DeviceAdopted}
	}
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error)
	go func() {
		ended <- s.Serve(ctx, func(context.Context, string, Args) (any, error) { return list, nil })
	}()
	for b.Loop() {
		var r DevicesResult
		if err := Do(b.Context(), path, "device_list", nil, &r); err != nil || len(r.Devices) != 50 {
			b.Fatal(len(r.Devices), err)
		}
	}
	cancel()
	<-ended
}
