package system

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// WriteFile puts a file in its place as a whole or not at all, and so that it
// stays there when the power goes: a temporary file beside it, fsync, rename,
// fsync of the folder. The temporary file's name is always the same, so that a
// crash in between leaves at most one behind, which the next write replaces.
func WriteFile(path string, data []byte, mode fs.FileMode) (err error) {
	tmp := path + ".tmp"
	defer func() {
		if err != nil {
			err = fmt.Errorf("writing %s: %w", path, err)
		}
	}()
	// A left-over may have another mode or be a link that somebody put there.
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	return syncDir(filepath.Dir(path))
}

// RemoveFile removes a file so that it stays removed when the power goes. A
// file that is not there is no error.
func RemoveFile(path string) error {
	if err := os.Remove(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// ErrUnusable says that what is in a file's place can't be one of ours.
var ErrUnusable = errors.New("not a file of ours")

// ReadFile reads a regular file of at most limit bytes. Anything else is
// ErrUnusable: state files are small, and a device or a pipe in their place
// would never end.
func ReadFile(path string, limit int64) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("reading %s: %w: not a regular file", path, ErrUnusable)
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("reading %s: %w: longer than %d bytes", path, ErrUnusable, limit)
	}
	return data, nil
}

// SetAside renames what can't be read to NAME.bad, over an older one of that
// name, so that a person can look at it and it is not read again.
func SetAside(path string) error {
	bad := path + ".bad"
	if err := remove(bad); err != nil {
		return err
	}
	if err := os.Rename(path, bad); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// remove removes a file or a folder, if there is one, and follows no symlink.
// os.RemoveAll would add 12 KB to the binary.
func remove(path string) error {
	err := os.Remove(path)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	info, wrong := os.Lstat(path)
	if wrong != nil || !info.IsDir() {
		return err
	}
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	names, err := d.Readdirnames(-1)
	if err = errors.Join(err, d.Close()); err != nil {
		return err
	}
	for _, name := range names {
		if err := remove(filepath.Join(path, name)); err != nil {
			return err
		}
	}
	return os.Remove(path)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	return errors.Join(err, d.Close())
}
