package lab

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"homeconf/src/uci"

	"golang.org/x/sys/unix"
)

const (
	// startsFile has a line for each start of a daemon: when, which, why.
	startsFile = "starts"
	// A daemon that ended by itself is started again after respawnPause, at
	// most respawns times until its configuration changes.
	respawnPause = time.Second
	respawns     = 5
)

// supervise is the supervisor: it renders UCI for the daemons and restarts one
// when what was rendered for it changed, for ever. The daemons die with it.
//
// It stands for OpenWrt's procd, /etc/init.d/dnsmasq and /etc/init.d/igmpproxy.
func supervise(configDir, work string) error {
	s := &supervisor{
		config: uci.Dir{Path: configDir, RunPath: filepath.Join(work, "none"), StagePath: filepath.Join(work, "none")},
		work:   work,
		ended:  make(chan ended),
	}
	s.daemons = []*daemon{
		{name: "dnsmasq", args: []string{"-k", "-C"}, render: renderDnsmasq, reads: []string{"dhcp", "network"}},
		{name: "igmpproxy", args: []string{"-n", "-v"}, render: renderIGMPProxy, reads: []string{"igmpproxy", "network"}},
	}
	// Watch first, read then: no change falls between.
	changed, err := watchFolder(configDir)
	if err != nil {
		return err
	}
	for _, d := range s.daemons {
		s.update(d, "it is the beginning")
	}
	for {
		select {
		case pkg, ok := <-changed:
			if !ok {
				return errors.New("the configuration folder is watched no longer")
			}
			for _, d := range s.daemons {
				if slices.Contains(d.reads, pkg) {
					s.update(d, pkg+" changed")
				}
			}
		case e := <-s.ended:
			s.respawn(e)
		}
	}
}

type supervisor struct {
	config  uci.Dir
	work    string
	daemons []*daemon
	ended   chan ended
}

// daemon is one of the gateway's daemons.
type daemon struct {
	name   string
	args   []string // before the file's name
	render func(load func(string) (*uci.File, error), log func(string, ...any)) ([]byte, error)
	reads  []string // packages

	rendered []byte // nil: it does not run
	process  *exec.Cmd
	done     chan struct{} // closed at the process's end
	failed   int           // ends in a row
}

// ended says that a daemon ended by itself, or that it's time to start it
// again.
type ended struct {
	daemon  *daemon
	process *exec.Cmd // whose end it was, to know the ends that we made
	err     error
	again   bool
}

func (s *supervisor) log(format string, args ...any) {
	fmt.Printf("%s %s\n", time.Now().UTC().Format("15:04:05.000"), fmt.Sprintf(format, args...))
}

// update renders a daemon's configuration and restarts it when that changed.
// With files that can't be read, what runs stays.
func (s *supervisor) update(d *daemon, why string) {
	conf, err := d.render(s.config.Load, s.log)
	if err != nil {
		s.log("%s left as it is, %s: %v", d.name, why, err)
		return
	}
	if bytes.Equal(conf, d.rendered) && (conf == nil) == (d.rendered == nil) {
		return
	}
	d.rendered, d.failed = conf, 0
	file := filepath.Join(s.work, d.name+".conf")
	if conf == nil {
		s.log("stop %s: %s", d.name, why)
		s.stop(d)
		os.Remove(file)
		return
	}
	if err := os.WriteFile(file, conf, 0o644); err != nil {
		s.log("write for %s: %v", d.name, err)
		return
	}
	s.restart(d, why)
}

// stop ends a daemon as procd does: SIGTERM, and SIGKILL after term_timeout.
func (s *supervisor) stop(d *daemon) {
	if d.process == nil {
		return
	}
	p := d.process
	d.process = nil
	p.Process.Signal(syscall.SIGTERM)
	select {
	case <-d.done:
	case <-time.After(stopTime):
		s.log("kill %s, which didn't end", d.name)
		p.Process.Kill()
		<-d.done
	}
}

func (s *supervisor) restart(d *daemon, why string) {
	begin := time.Now()
	s.stop(d)
	err := s.start(d)
	if err != nil {
		s.log("start %s: %v", d.name, err)
		return
	}
	s.log("restart %s: %s (%v)", d.name, why, time.Since(begin).Round(time.Microsecond))
	line := fmt.Sprintf("%s %s %s\n", time.Now().UTC().Format(time.RFC3339Nano), d.name, why)
	f, err := os.OpenFile(filepath.Join(s.work, startsFile), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err == nil {
		_, err = f.WriteString(line)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		s.log("count the start of %s: %v", d.name, err)
	}
}

// start starts a daemon. This is the main thread, which lasts: the daemon gets
// SIGKILL when it ends.
func (s *supervisor) start(d *daemon) error {
	path, err := program(d.name)
	if err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(s.work, d.name+".log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	p := exec.Command(path, append(slices.Clone(d.args), filepath.Join(s.work, d.name+".conf"))...)
	p.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, roleVariable) })
	p.Stdout, p.Stderr = log, log
	p.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.Start(); err != nil {
		return err
	}
	done := make(chan struct{})
	d.process, d.done = p, done
	go func() {
		err := p.Wait()
		close(done)
		s.ended <- ended{daemon: d, process: p, err: err}
	}()
	return nil
}

// respawn starts a daemon that ended by itself again, after a while.
func (s *supervisor) respawn(e ended) {
	d := e.daemon
	switch {
	case e.again && d.process == nil && d.rendered != nil:
		s.restart(d, "it had ended")
	case e.again || d.process != e.process:
		// It runs again already, or it was we who ended it.
	default:
		d.process = nil
		d.failed++
		s.log("%s ended: %v", d.name, e.err)
		if d.failed > respawns {
			s.log("%s is given up until its configuration changes", d.name)
			return
		}
		time.AfterFunc(respawnPause, func() { s.ended <- ended{daemon: d, again: true} })
	}
}

// watchFolder tells which of a folder's files were written. The folder is
// watched, as a file's own watch ends at the first rename.
func watchFolder(dir string) (<-chan string, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", dir, err)
	}
	f := os.NewFile(uintptr(fd), "inotify")
	const what = unix.IN_MOVED_TO | unix.IN_CLOSE_WRITE | unix.IN_DELETE | unix.IN_MOVED_FROM | unix.IN_ONLYDIR
	if _, err := unix.InotifyAddWatch(fd, dir, what); err != nil {
		f.Close()
		return nil, fmt.Errorf("watch %s: %w", dir, err)
	}
	names := make(chan string, 64)
	go func() {
		defer close(names)
		buf := make([]byte, 64<<10)
		for {
			n, err := f.Read(buf)
			if err != nil {
				return
			}
			for b := buf[:n]; len(b) >= unix.SizeofInotifyEvent; {
				// struct inotify_event: wd, mask, cookie, len, name
				size := unix.SizeofInotifyEvent + int(nativeUint32(b[12:]))
				name := string(bytes.TrimRight(b[unix.SizeofInotifyEvent:size], "\x00"))
				b = b[size:]
				names <- name
			}
		}
	}()
	return names, nil
}

// missing turns a file that isn't there into none.
func missing(f *uci.File, err error) (*uci.File, error) {
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return f, err
}
