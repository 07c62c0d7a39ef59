package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// stopTime is what a process has to end after SIGTERM: procd's term_timeout.
const stopTime = 5 * time.Second

// Process is a program that runs in a host, as our direct child.
type Process struct {
	Host *Host
	// Log is the file with what the program prints.
	Log string

	cmd  *exec.Cmd
	done chan struct{}
	err  error
}

// starts runs f on the one thread that starts processes. A child gets the
// signal of its parent's death when the *thread* that started it ends, so that
// must be one that lasts as long as the process.
var starts = sync.OnceValue(func() func(f func() error) error {
	calls := make(chan func())
	go func() {
		runtime.LockOSThread()
		for f := range calls {
			f()
		}
	}()
	return func(f func() error) error {
		err := make(chan error)
		calls <- func() { err <- f() }
		return <-err
	}
})

// Start starts a program in the host. It dies with us.
func (h *Host) Start(cmd ...string) (*Process, error) { return h.StartEnv(nil, cmd...) }

// StartEnv is Start with more environment, as KEY=value.
func (h *Host) StartEnv(env []string, cmd ...string) (*Process, error) {
	if len(cmd) == 0 {
		return nil, errors.New("start: no command")
	}
	fail := func(err error) (*Process, error) {
		return nil, fmt.Errorf("%s: start %s: %w", h.Name, cmd[0], err)
	}
	log, err := os.CreateTemp(h.Dir, filepath.Base(cmd[0])+"-*.log")
	if err != nil {
		return fail(err)
	}
	defer log.Close()
	// ip becomes the program by exec: the pid is the program's, and it sees
	// the namespace's own /sys.
	p := &Process{Host: h, Log: log.Name(), done: make(chan struct{})}
	p.cmd = exec.Command("ip", append([]string{"netns", "exec", h.Namespace}, cmd...)...)
	p.cmd.Dir = h.Dir
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}

	h.Lab.mu.Lock()
	defer h.Lab.mu.Unlock()
	if h.Lab.closed {
		return fail(errors.New("the lab is closed"))
	}
	if err := starts()(p.cmd.Start); err != nil {
		return fail(err)
	}
	h.Lab.processes = append(h.Lab.processes, p)
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// Pid is the program's process id.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Signal sends a signal.
func (p *Process) Signal(s os.Signal) error { return p.cmd.Process.Signal(s) }

// Done is closed when the program has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait waits for the program's end; its error is exec.Cmd's.
func (p *Process) Wait() error {
	<-p.done
	return p.err
}

// Kill kills the program with SIGKILL and waits.
func (p *Process) Kill() {
	p.cmd.Process.Kill() // an error says that it has ended
	<-p.done
}

// Stop asks the program to end by SIGTERM, and kills it after 5 s. The error
// says how the program ended, if not with status 0.
func (p *Process) Stop() error {
	p.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
		return p.err
	case <-time.After(stopTime):
		p.Kill()
		return fmt.Errorf("%s: pid %d did not end within %v of SIGTERM", p.Host.Name, p.Pid(), stopTime)
	}
}

// Output is what the program has printed so far.
func (p *Process) Output() string {
	b, err := os.ReadFile(p.Log)
	if err != nil {
		return err.Error()
	}
	return string(b)
}
