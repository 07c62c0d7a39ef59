package calls

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// The bounds of what the socket takes.
const (
	maxRequest      = 64 << 10
	maxConns        = 32
	requestTimeout  = 30 * time.Second // to send a request, to answer it, and to read the answer
	shutdownTimeout = 500 * time.Millisecond
	lockWait        = time.Second
)

// SocketPath is where a daemon listens in a run-dir.
func SocketPath(runDir string, d Daemon) string { return filepath.Join(runDir, string(d)+".sock") }

// Handler answers one call. args hold what the table says; the result is
// encoded as JSON. An Error keeps its code, any other error is Failed. ctx ends
// when the daemon does, or after 30 seconds.
type Handler func(ctx context.Context, name string, args Args) (any, error)

// Server is the daemon's end of the socket.
type Server struct {
	daemon Daemon
	ln     net.Listener
	lock   *os.File
	slots  chan struct{}
	limit  time.Duration // requestTimeout, but in tests
}

// Listen takes the socket for a daemon. The lock file beside it is held until
// Close: a second daemon on the same run-dir gets an error and touches nothing,
// and what a killed one left there is replaced.
func Listen(path string, d Daemon) (*Server, error) {
	// The run-dir holds sockets only; others have no business in it.
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("make run-dir: %w", err)
	}
	lock, err := takeLock(path+".lock", d)
	if err != nil {
		return nil, err
	}
	ln, err := listen(path)
	if err != nil {
		lock.Close()
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	return &Server{daemon: d, ln: ln, lock: lock, slots: make(chan struct{}, maxConns), limit: requestTimeout}, nil
}

func takeLock(path string, d Daemon) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock file: %w", err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	// A daemon that was killed takes a moment to be gone.
	for end := time.Now().Add(lockWait); errors.Is(err, syscall.EWOULDBLOCK) && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	}
	if err != nil {
		defer f.Close()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		b, _ := io.ReadAll(io.LimitReader(f, 20))
		return nil, fmt.Errorf("another homeconf %s runs already on %s (process %s)",
			d, filepath.Dir(path), bytes.TrimSpace(b))
	}
	// The process number is for the message above only; the lock is the flock.
	if err := f.Truncate(0); err == nil {
		fmt.Fprintln(f, os.Getpid())
	}
	return f, nil
}

// listen is called with the lock held, so a socket that is there already
// belongs to nobody alive.
func listen(path string) (net.Listener, error) {
	const maxPath = len(syscall.RawSockaddrUnix{}.Path) - 1 // unix(7): 108 bytes with the NUL
	if len(path) > maxPath {
		return nil, fmt.Errorf("path of %d bytes, a socket's has at most %d: choose a shorter run-dir", len(path), maxPath)
	}
	switch fi, err := os.Lstat(path); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	case fi.Mode().Type() != fs.ModeSocket:
		return nil, errors.New("something that is no socket stands in the way; remove it")
	default:
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	socket := os.NewFile(uintptr(fd), path)
	defer socket.Close() // the listener has one of its own
	// The mode is set before bind makes the file, so it is never more open.
	if err := syscall.Fchmod(fd, 0o600); err != nil {
		return nil, os.NewSyscallError("fchmod", err)
	}
	if err := syscall.Bind(fd, &syscall.SockaddrUnix{Name: path}); err != nil {
		return nil, os.NewSyscallError("bind", err)
	}
	if err := syscall.Listen(fd, syscall.SOMAXCONN); err != nil {
		return nil, os.NewSyscallError("listen", err)
	}
	// Not net.Listen, which brings the resolver.
	ln, err := net.FileListener(socket)
	if err != nil {
		return nil, err
	}
	ln.(*net.UnixListener).SetUnlinkOnClose(true)
	return ln, nil
}

// Close gives the socket up.
func (s *Server) Close() error {
	err := s.ln.Close() // unlinks the socket, while the lock is still held
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	return errors.Join(err, s.lock.Close())
}

// Serve answers calls until ctx ends, then closes the server and returns nil.
func (s *Server) Serve(ctx context.Context, h Handler) error {
	ctx, cancel := context.WithCancel(ctx)
	var conns sync.WaitGroup
	defer s.end(&conns)
	defer cancel()
	context.AfterFunc(ctx, func() { s.ln.Close() })
	for {
		conn, err := s.ln.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				conn.Close()
			}
			return nil
		case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE), errors.Is(err, syscall.ECONNABORTED):
			// Not ours to mend, and gone in a moment.
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
			continue
		case err != nil:
			return fmt.Errorf("accept on %s: %w", s.ln.Addr(), err)
		}
		select {
		case s.slots <- struct{}{}:
			conns.Go(func() {
				defer func() { <-s.slots }()
				s.serve(ctx, conn, h)
			})
		default:
			// The answer fits the socket's buffer; nobody is waited for.
			conn.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
			answer(conn, nil, Errorf(Busy, "%d connections are open already", maxConns))
			conn.Close()
		}
	}
}

// end waits for the answers under way, but not for a handler that doesn't
// listen to its context: SIGTERM ends a daemon in under a second.
func (s *Server) end(conns *sync.WaitGroup) {
	done := make(chan struct{})
	go func() { conns.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(shutdownTimeout):
	}
	s.Close()
}

// Serve is Listen and Serve in one.
func Serve(ctx context.Context, path string, d Daemon, h Handler) error {
	s, err := Listen(path, d)
	if err != nil {
		return err
	}
	return s.Serve(ctx, h)
}

// serve answers the requests of one connection.
func (s *Server) serve(ctx context.Context, conn net.Conn, h Handler) {
	defer conn.Close()
	// Half closed, an answer under way still goes out.
	if c, ok := conn.(interface{ CloseRead() error }); ok {
		defer context.AfterFunc(ctx, func() { c.CloseRead() })()
	}
	lines := bufio.NewScanner(conn)
	lines.Buffer(make([]byte, 0, 1024), maxRequest+1) // the newline counts
	for ctx.Err() == nil {
		conn.SetReadDeadline(time.Now().Add(s.limit))
		if !lines.Scan() {
			if errors.Is(lines.Err(), bufio.ErrTooLong) {
				conn.SetWriteDeadline(time.Now().Add(s.limit))
				answer(conn, nil, Errorf(InvalidArgument, "request of more than %d bytes", maxRequest))
			}
			return
		}
		result, err := s.handle(ctx, lines.Bytes(), h)
		conn.SetWriteDeadline(time.Now().Add(s.limit))
		if answer(conn, result, err) != nil {
			return
		}
	}
}

// handle answers one request.
func (s *Server) handle(ctx context.Context, line []byte, h Handler) (any, error) {
	name, raw, err := decodeRequest(line)
	if err != nil {
		return nil, err
	}
	call, ok := Lookup(name)
	if !ok || call.Daemon != s.daemon {
		return nil, Errorf(UnknownCall, "the %s has no call %.40q", s.daemon, name)
	}
	args, err := call.decodeArgs(raw)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.limit)
	defer cancel()
	return h(ctx, name, args)
}

// answer writes one line, in one write.
func answer(w io.Writer, result any, err error) error {
	var line []byte
	if err == nil {
		line, err = json.Marshal(struct {
			Result any `json:"result"`
		}{result})
	}
	if err != nil {
		line, err = json.Marshal(struct {
			Error *Error `json:"error"`
		}{asError(err)})
		if err != nil {
			return err
		}
	}
	_, err = w.Write(append(line, '\n'))
	return err
}
