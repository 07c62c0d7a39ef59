package sighting

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// fileWatch hears of the writes to one file, by inotify.
type fileWatch struct {
	f    *os.File
	path string
	base []byte
	buf  []byte
}

func newFileWatch(path string) (*fileWatch, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, err
	}
	w := &fileWatch{f: os.NewFile(uintptr(fd), "inotify"), path: path, base: []byte(filepath.Base(path)), buf: make([]byte, 4096)}
	if err := w.add(filepath.Dir(path), folderEvents|unix.IN_ONLYDIR); err != nil {
		w.close()
		return nil, fmt.Errorf("folder %s: %w", filepath.Dir(path), err)
	}
	w.file()
	return w, nil
}

// file watches what is now at the path, if anything. What can't be watched, such
// as a link that leads round in a circle, is as good as nothing: the folder says
// when something else comes into its place.
func (w *fileWatch) file() { _ = w.add(w.path, fileEvents) }

// add goes through the os.File, so that a closed watch is an error and never
// somebody else's descriptor.
func (w *fileWatch) add(path string, mask uint32) error {
	c, err := w.f.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := c.Control(func(fd uintptr) { _, inner = unix.InotifyAddWatch(int(fd), path, mask) }); err != nil {
		return err
	}
	return inner
}

// next waits for events, and says whether one concerns the file.
func (w *fileWatch) next() (bool, error) {
	n, err := w.f.Read(w.buf)
	if err != nil {
		return false, err
	}
	ours, replaced := events(w.buf[:n], w.base)
	if replaced {
		w.file()
	}
	return ours, nil
}

// events reads inotify's records: whether one concerns the file, and whether
// another may have come into its place.
func events(b, base []byte) (ours, replaced bool) {
	for len(b) >= unix.SizeofInotifyEvent {
		mask := binary.NativeEndian.Uint32(b[4:])
		size := int(binary.NativeEndian.Uint32(b[12:]))
		b = b[unix.SizeofInotifyEvent:]
		if size > len(b) {
			break
		}
		name := bytes.TrimRight(b[:size], "\x00")
		b = b[size:]
		switch {
		case mask&unix.IN_Q_OVERFLOW != 0:
			return true, true
		case mask&fileEvents != 0 && size == 0:
			ours = true
		case mask&folderEvents != 0 && bytes.Equal(name, base):
			ours, replaced = true, true
		}
	}
	return ours, replaced
}

func (w *fileWatch) close() { w.f.Close() }
