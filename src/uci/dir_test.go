package uci

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

func setting(value string) func(*File) error {
	return func(f *File) error {
		s, ok := f.Section("x")
		if !ok {
			var err error
			if s, err = f.Add("thing", "x"); err != nil {
				return err
			}
		}
		return s.Set("a", value)
	}
}

func TestEditKeepsModeOwnerAndLink(t *testing.T) {
	dir := t.TempDir()
	real := filepath.Join(dir, "real")
	if err := os.WriteFile(real, []byte("config thing 'x'\n"), 0o640); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		if err := os.Chown(real, 12, 34); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("real", filepath.Join(dir, "pkg")); err != nil {
		t.Fatal(err)
	}
	d := Dir{Path: dir}
	if changed, err := d.Edit(t.Context(), "pkg", setting("1")); err != nil || !changed {
		t.Fatal(changed, err)
	}
	if link, err := os.Readlink(filepath.Join(dir, "pkg")); err != nil || link != "real" {
		t.Errorf("the link became %q, %v", link, err)
	}
	info, err := os.Stat(real)
	if err != nil || info.Mode() != 0o640 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if st := info.Sys().(*syscall.Stat_t); os.Geteuid() == 0 && (st.Uid != 12 || st.Gid != 34) {
		t.Errorf("owner %d:%d", st.Uid, st.Gid)
	}
	before, _ := os.Stat(real)
	if changed, err := d.Edit(t.Context(), "pkg", setting("1")); err != nil || changed {
		t.Error("the same again was a change:", changed, err)
	}
	if after, _ := os.Stat(real); !os.SameFile(before, after) {
		t.Error("the same again wrote the file")
	}
	left, _ := filepath.Glob(filepath.Join(dir, ".*uci-*"))
	if len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestEditMakesAFileOnlyWhenSomethingIsInIt(t *testing.T) {
	d := Dir{Path: t.TempDir()}
	if _, err := d.Load("new"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("load of a missing package: %v", err)
	}
	if _, err := d.Edit(t.Context(), "new", func(*File) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(d.Path, "new")); !errors.Is(err, fs.ErrNotExist) {
		t.Error("an edit that changes nothing made a file")
	}
	if _, err := d.Edit(t.Context(), "new", setting("1")); err != nil {
		t.Fatal(err)
	}
	f, err := d.Load("new")
	if err != nil {
		t.Fatal(err)
	}
	same(t, "new file", f.Bytes(), []byte("config thing 'x'\n\toption a '1'\n"))
	for _, bad := range []string{"", "../x", "a/b", "a b"} {
		if _, err := d.Load(bad); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("package %q: %v", bad, err)
		}
	}
}

func TestEveryEditOfManyLands(t *testing.T) {
	d := Dir{Path: t.TempDir()}
	var all sync.WaitGroup
	const n = 40
	for i := range n {
		all.Go(func() {
			_, err := d.Edit(t.Context(), "pkg", func(f *File) error {
				s, err := f.Add("thing", fmt.Sprintf("s%d", i))
				if err != nil {
					return err
				}
				return s.Set("n", fmt.Sprint(i+1))
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	f, err := d.Load("pkg")
	if err != nil || len(f.Sections("thing")) != n {
		t.Fatalf("%d sections, want %d; %v", len(f.Sections("thing")), n, err)
	}
}

func TestEditWaitsForLibucisLockAndGivesUp(t *testing.T) {
	d := Dir{Path: t.TempDir()}
	path := filepath.Join(d.Path, "pkg")
	if err := os.WriteFile(path, []byte("config thing 'x'\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	held, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	if err := syscall.Flock(int(held.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := d.Edit(ctx, "pkg", setting("1")); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("with the lock held: %v", err)
	}
	time.AfterFunc(20*time.Millisecond, func() {
		// What libuci's commit does while it holds the lock.
		os.WriteFile(path+".new", []byte("config thing 'x'\n\toption b '2'\n"), 0o644)
		os.Rename(path+".new", path)
		held.Close()
	})
	if _, err := d.Edit(t.Context(), "pkg", setting("1")); err != nil {
		t.Fatal(err)
	}
	f, err := d.Load("pkg")
	if err != nil {
		t.Fatal(err)
	}
	same(t, "file", f.Bytes(), []byte("config thing 'x'\n\toption b '2'\n\toption a '1'\n"))
}

func TestFullDiskLosesNothing(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("needs root to mount a small tmpfs")
		}
		t.Skip("needs root to mount a small tmpfs")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatal(err)
	}
	defer syscall.Unmount(dir, 0)
	d := Dir{Path: dir}
	old := []byte("config thing 'x'\n\toption a '1'\n")
	if err := os.WriteFile(filepath.Join(dir, "pkg"), old, 0o644); err != nil {
		t.Fatal(err)
	}
	full, err := os.Create(filepath.Join(dir, "full"))
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = full.Write(bytes.Repeat([]byte{1}, 4096))
	}
	full.Close()
	if _, err := d.Edit(t.Context(), "pkg", setting(string(bytes.Repeat([]byte("v"), 9000)))); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("on a full disk: %v", err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "pkg")); err != nil || !bytes.Equal(b, old) {
		t.Errorf("the file is %q, %v", b, err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestOverriddenAndStaged(t *testing.T) {
	d := Dir{Path: t.TempDir(), RunPath: t.TempDir(), StagePath: t.TempDir()}
	if d.Overridden("dhcp") || d.Staged("dhcp") {
		t.Error("nothing is there")
	}
	for _, dir := range []string{d.RunPath, d.StagePath} {
		if err := os.WriteFile(filepath.Join(dir, "dhcp"), []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if !d.Overridden("dhcp") || !d.Staged("dhcp") {
		t.Error("not seen")
	}
}

func BenchmarkParse(b *testing.B) {
	in := read(b, "anon_many.uci")
	b.SetBytes(int64(len(in)))
	for b.Loop() {
		if _, err := Parse("anon_many", in); err != nil {
			b.Fatal(err)
		}
	}
}
