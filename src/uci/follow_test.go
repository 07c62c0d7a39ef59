package uci

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestFollow(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "real", "file")
	for _, err := range []error{os.Mkdir(filepath.Dir(file), 0o755), os.WriteFile(file, nil, 0o600), os.Mkdir(filepath.Join(dir, "far"), 0o755),
		os.Symlink("real", filepath.Join(dir, "folder")), os.Symlink("../folder/file", filepath.Join(dir, "far", "link")),
		os.Symlink(filepath.Join(dir, "far", "link"), filepath.Join(dir, "abs")), os.Symlink("loop", filepath.Join(dir, "loop"))} {
		if err != nil {
			t.Fatal(err)
		}
	}
	want, _ := os.Stat(file)
	for _, name := range []string{"real/file", "folder/file", "far/link", "abs"} {
		got, err := Follow(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if info, err := os.Lstat(got); err != nil || !os.SameFile(info, want) {
			t.Errorf("%s leads to %s: %v", name, got, err)
		}
	}
	if _, err := Follow(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	if _, err := Follow(filepath.Join(dir, "loop")); !errors.Is(err, syscall.ELOOP) {
		t.Errorf("a loop: %v", err)
	}
}
