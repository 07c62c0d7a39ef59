package uci

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Dir is a folder of UCI files.
type Dir struct {
	Path      string // normally /etc/config
	RunPath   string // a file here hides the one in Path (libuci from 24.10); "": /var/run/uci
	StagePath string // where others' uncommitted changes wait; "": /tmp/.uci
}

// lockPause is how long a lock that another holds is left alone before it is
// tried again. flock has no time-out of its own, and a uci commit takes
// milliseconds.
const lockPause = 2 * time.Millisecond

// lockLimit is how long a lock is waited for when the context has no deadline:
// a holder that died gives it up at once, so one that long is stuck.
const lockLimit = time.Minute

// staleAfter is the age from which a temporary file is what a crash left.
const staleAfter = time.Hour

// Load reads a package. fs.ErrNotExist says that there is none.
func (d Dir) Load(pkg string) (*File, error) {
	if !validName(pkg, true) {
		return nil, fmt.Errorf("package name %.40q: want letters, digits, '_' and '-'", pkg)
	}
	// A reader needs no lock: writers put whole files in place by renaming, so
	// what was opened is whole. O_NONBLOCK: opening a FIFO must not hang.
	fd, err := os.OpenFile(filepath.Join(d.Path, pkg), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("reading UCI: %w", err)
	}
	defer fd.Close()
	b, err := readAll(fd)
	if err != nil {
		return nil, fmt.Errorf("reading UCI: %w", err)
	}
	f, err := Parse(pkg, b)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", filepath.Join(d.Path, pkg), err)
	}
	return f, nil
}

func readAll(fd *os.File) ([]byte, error) {
	info, err := fd.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", fd.Name())
	}
	b, err := io.ReadAll(io.LimitReader(fd, MaxFile+1))
	if err == nil && len(b) > MaxFile {
		err = fmt.Errorf("%s has more than %d bytes", fd.Name(), MaxFile)
	}
	return b, err
}

// Edit changes a package under libuci's lock: what change sees is what is there
// now, and nobody who locks writes in between. The new file takes the old one's
// place whole or not at all; when change changes nothing, nothing is written. A
// missing file is made.
func (d Dir) Edit(ctx context.Context, pkg string, change func(*File) error) (changed bool, err error) {
	if !validName(pkg, true) {
		return false, fmt.Errorf("package name %.40q: want letters, digits, '_' and '-'", pkg)
	}
	if _, has := ctx.Deadline(); !has {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, lockLimit)
		defer cancel()
	}
	path, err := resolve(filepath.Join(d.Path, pkg))
	if err != nil {
		return false, fmt.Errorf("editing UCI: %w", err)
	}
	fd, made, err := lock(ctx, path)
	if err != nil {
		return false, fmt.Errorf("locking %s: %w", path, err)
	}
	defer fd.Close() // gives the lock up
	if made {
		// An empty file that nothing is written to would be a change, too.
		defer func() {
			if !changed && samePlace(fd, path) {
				err = errors.Join(err, os.Remove(path))
			}
		}()
	}
	before, err := readAll(fd)
	if err != nil {
		return false, fmt.Errorf("editing UCI: %w", err)
	}
	f, err := Parse(pkg, before)
	if err != nil {
		return false, fmt.Errorf("editing %s: %w", path, err)
	}
	if err := change(f); err != nil {
		return false, err
	}
	after := f.Bytes()
	if bytes.Equal(before, after) {
		return false, nil
	}
	// What is written must be read as what was meant.
	again, err := Parse(pkg, after)
	if err != nil {
		return false, fmt.Errorf("editing %s: the change would not be read back: %w", path, err)
	}
	if !bytes.Equal(again.Export(), f.Export()) {
		return false, fmt.Errorf("editing %s: the change would not be read back as it is meant", path)
	}
	sweep(path)
	if err := replaceFile(path, fd, after); err != nil {
		return false, fmt.Errorf("writing %s: %w", path, err)
	}
	return true, nil
}

// resolve follows symbolic links, so that they stay and their target changes.
// One that leads nowhere is an error: what it was meant for can't be known.
func resolve(path string) (string, error) {
	real, err := Follow(path)
	if errors.Is(err, fs.ErrNotExist) {
		if _, there := os.Lstat(path); there == nil {
			return "", fmt.Errorf("%s is a symbolic link that leads nowhere", path)
		}
		return path, nil
	}
	return real, err
}

// lock takes flock on the file itself. Whoever held it before may have renamed
// another file over it, so afterwards the path must still lead to what is locked.
func lock(ctx context.Context, path string) (fd *os.File, made bool, err error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, false, err
		}
		fd, err := os.OpenFile(path, os.O_RDWR|syscall.O_NONBLOCK, 0)
		made := false
		if errors.Is(err, fs.ErrNotExist) {
			fd, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
			if errors.Is(err, fs.ErrExist) {
				continue
			}
			made = err == nil
		}
		if err != nil {
			return nil, false, err
		}
		if err := flock(ctx, fd); err != nil {
			fd.Close()
			return nil, false, err
		}
		if samePlace(fd, path) {
			return fd, made, nil
		}
		fd.Close()
	}
}

// samePlace says whether a path leads to an open file.
func samePlace(fd *os.File, path string) bool {
	here, err := fd.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(path)
	return err == nil && os.SameFile(here, there)
}

func flock(ctx context.Context, fd *os.File) error {
	for {
		err := syscall.Flock(int(fd.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case err == nil, errors.Is(err, syscall.ENOSYS): // as libuci, on a file system without locks
			return nil
		case errors.Is(err, syscall.EINTR):
			continue
		case !errors.Is(err, syscall.EWOULDBLOCK):
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(lockPause):
		}
	}
}

// Follow is the file that a symlink leads to, or the path itself if it is none.
// filepath.EvalSymlinks, which resolves folders, too, would add 7 KB to the binary.
func Follow(path string) (string, error) {
	for range 40 { // as the kernel
		to, err := os.Readlink(path)
		switch {
		case errors.Is(err, syscall.EINVAL):
			return path, nil // no symlink
		case err != nil:
			return "", err
		case !filepath.IsAbs(to):
			// Not cleaned: ".." in it starts where the kernel is then.
			to = filepath.Dir(path) + "/" + to
		}
		path = to
	}
	return "", &fs.PathError{Op: "follow", Path: path, Err: syscall.ELOOP}
}

// sweep removes what crashes left beside a file. libuci lets its lock go before
// it renames, so only what is old is nobody's.
func sweep(path string) {
	dir, prefix := filepath.Dir(path), "."+filepath.Base(path)+".uci-"
	d, err := os.Open(dir)
	if err != nil {
		return
	}
	left, err := d.Readdirnames(-1)
	if d.Close() != nil || err != nil {
		return
	}
	for _, name := range left {
		if !strings.HasPrefix(name, prefix) || len(name) != len(prefix)+6 {
			continue
		}
		tmp := filepath.Join(dir, name)
		if info, err := os.Lstat(tmp); err == nil && info.Mode().IsRegular() && time.Since(info.ModTime()) > staleAfter {
			os.Remove(tmp)
		}
	}
}

// crashPoint is called between the steps of a write, for tests that kill there.
var crashPoint = func(string) {}

// replaceFile puts a whole new file in the place of the locked one, with its
// mode and owner, so that a power cut leaves the one or the other.
func replaceFile(path string, old *os.File, b []byte) (err error) {
	info, err := old.Stat()
	if err != nil {
		return err
	}
	// libuci's own name for it: tools that watch the folder know it.
	var tmp string
	var fd *os.File
	for range 10 {
		tmp = filepath.Join(filepath.Dir(path), fmt.Sprintf(".%s.uci-%06x", filepath.Base(path), rand.Uint32N(1<<24)))
		fd, err = os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if !errors.Is(err, fs.ErrExist) {
			break
		}
	}
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			fd.Close()
			os.Remove(tmp)
		}
	}()
	crashPoint("made")
	if _, err = fd.Write(b); err != nil {
		return err
	}
	crashPoint("written")
	if own, ok := info.Sys().(*syscall.Stat_t); ok {
		if err = fd.Chown(int(own.Uid), int(own.Gid)); err != nil && !errors.Is(err, fs.ErrPermission) {
			return err
		}
	}
	if err = fd.Chmod(info.Mode().Perm()); err != nil {
		return err
	}
	crashPoint("mode set")
	if err = fd.Sync(); err != nil {
		return err
	}
	if err = fd.Close(); err != nil {
		return err
	}
	crashPoint("synced")
	if err = os.Rename(tmp, path); err != nil {
		return err
	}
	crashPoint("renamed")
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("syncing the folder: %w", err)
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil {
		return fmt.Errorf("syncing the folder: %w", err)
	}
	return nil
}

// Overridden says whether a file in RunPath hides a package's, so that what is
// written has no effect.
func (d Dir) Overridden(pkg string) bool { return exists(d.RunPath, "/var/run/uci", pkg) }

// Staged says whether somebody has uncommitted changes to a package. They are
// his to commit.
func (d Dir) Staged(pkg string) bool { return exists(d.StagePath, "/tmp/.uci", pkg) }

func exists(dir, normally, pkg string) bool {
	if dir == "" {
		dir = normally
	}
	info, err := os.Stat(filepath.Join(dir, pkg))
	return err == nil && info.Mode().IsRegular() && info.Size() > 0
}
