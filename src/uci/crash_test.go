package uci

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// child runs this test binary again as another process, in the given role.
func child(t *testing.T, role, dir, arg string) *exec.Cmd {
	t.Helper()
	args := []string{os.Args[0], "-test.run=^TestAsAnotherProcess$", "-test.timeout=1m"}
	if emulator := os.Getenv("HOMECONF_EMULATOR"); emulator != "" {
		args = append([]string{emulator}, args...) // this machine can't run us by itself
	}
	cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "UCI_TEST_ROLE="+role, "UCI_TEST_DIR="+dir, "UCI_TEST_ARG="+arg)
	cmd.Stderr = os.Stderr
	return cmd
}

// TestAsAnotherProcess is no test of its own: it is what child starts.
func TestAsAnotherProcess(t *testing.T) {
	d, arg := Dir{Path: os.Getenv("UCI_TEST_DIR")}, os.Getenv("UCI_TEST_ARG")
	switch os.Getenv("UCI_TEST_ROLE") {
	case "":
		t.Skip("runs only when another test starts it")
	case "add": // twenty sections, each in an edit of its own
		for i := range 20 {
			_, err := d.Edit(context.Background(), "pkg", func(f *File) error {
				_, err := f.Add("thing", fmt.Sprintf("%s_%d", arg, i))
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	case "die": // dies at a step
		crashPoint = func(step string) {
			if step == arg {
				syscall.Kill(os.Getpid(), syscall.SIGKILL)
				select {}
			}
		}
		_, err := d.Edit(context.Background(), "pkg", setting(strings.Repeat("new", 3000)))
		t.Fatal("still alive: ", err)
	case "write": // writes until it is killed
		for i := 0; ; i++ {
			if _, err := d.Edit(context.Background(), "pkg", setting(strings.Repeat(string(rune('a'+i%26)), 5000))); err != nil {
				t.Fatal(err)
			}
			if i == 0 {
				fmt.Println("writing")
			}
		}
	}
}

func TestProcessesThatEditAtOnceAllLand(t *testing.T) {
	d := Dir{Path: t.TempDir()}
	var all sync.WaitGroup
	const n = 4
	for i := range n {
		cmd := child(t, "add", d.Path, fmt.Sprintf("p%d", i))
		all.Go(func() {
			if err := cmd.Run(); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	f, err := d.Load("pkg")
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Sections("thing")) != 20*n {
		t.Fatalf("%d sections, want %d; %v", len(f.Sections("thing")), 20*n, err)
	}
}

func TestKilledBetweenTwoSteps(t *testing.T) {
	for _, step := range []string{"made", "written", "mode set", "synced", "renamed"} {
		t.Run(step, func(t *testing.T) {
			d := Dir{Path: t.TempDir()}
			path := filepath.Join(d.Path, "pkg")
			old := "# a comment\nconfig thing 'x'\n\toption a 'old'\n"
			if err := os.WriteFile(path, []byte(old), 0o640); err != nil {
				t.Fatal(err)
			}
			err := child(t, "die", d.Path, step).Run()
			if exit, ok := err.(*exec.ExitError); !ok || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
				t.Fatalf("ended with %v, want killed", err)
			}
			want := old
			if step == "renamed" {
				want = "# a comment\nconfig thing 'x'\n\toption a '" + strings.Repeat("new", 3000) + "'\n"
			}
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			same(t, "file", b, []byte(want))
			if info, err := os.Stat(path); err != nil || info.Mode() != 0o640 {
				t.Errorf("mode %v, %v", info.Mode(), err)
			}
			// The lock died with its holder, and what it left goes in time.
			left, _ := filepath.Glob(filepath.Join(d.Path, ".pkg.uci-*"))
			if (len(left) == 1) != (step != "renamed") {
				t.Errorf("left behind: %v", left)
			}
			for _, tmp := range left {
				long := time.Now().Add(-2 * staleAfter)
				if err := os.Chtimes(tmp, long, long); err != nil {
					t.Fatal(err)
				}
			}
			young := filepath.Join(d.Path, ".pkg.uci-AbC123")
			if err := os.WriteFile(young, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			if _, err := d.Edit(ctx, "pkg", setting("again")); err != nil {
				t.Fatal(err)
			}
			if left, _ = filepath.Glob(filepath.Join(d.Path, ".pkg.uci-*")); len(left) != 1 || left[0] != young {
				t.Errorf("after the next edit there are %v, want what another writes just now", left)
			}
		})
	}
}

// Killed at any instant, seen by a reader at any instant: a whole file.
func TestKilledAtAnyInstant(t *testing.T) {
	d := Dir{Path: t.TempDir()}
	for i := range 15 {
		cmd := child(t, "write", d.Path, "")
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		until := time.Now().Add(time.Duration(i) * 700 * time.Microsecond)
		for again := true; again; again = time.Now().Before(until) {
			whole(t, d)
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		cmd.Wait()
		whole(t, d)
	}
}

func whole(t *testing.T, d Dir) {
	t.Helper()
	f, err := d.Load("pkg")
	if err != nil {
		t.Fatal(err)
	}
	s, ok := f.Section("x")
	if !ok {
		t.Fatalf("no section in %q", f.Bytes())
	}
	v, _ := s.Get("a")
	if len(v) != 5000 || strings.Trim(v, v[:1]) != "" {
		t.Fatalf("torn: %d bytes", len(v))
	}
}

func TestOddThingsInTheFoldersPlace(t *testing.T) {
	d := Dir{Path: t.TempDir()}
	if err := os.Symlink("nowhere", filepath.Join(d.Path, "dangling")); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(d.Path, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(d.Path, "folder"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(d.Path, "large"), make([]byte, MaxFile+1), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, pkg := range []string{"dangling", "fifo", "folder", "large"} {
		done := make(chan struct{})
		go func() {
			defer close(done)
			if _, err := d.Load(pkg); err == nil {
				t.Errorf("%s was read", pkg)
			}
			if changed, err := d.Edit(t.Context(), pkg, setting("1")); err == nil || changed {
				t.Errorf("%s was written", pkg)
			}
		}()
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			t.Fatalf("%s: hangs", pkg)
		}
	}
	if _, err := d.Edit(t.Context(), "big", setting(strings.Repeat("v", MaxFile))); err == nil {
		t.Error("a file was written that cannot be read")
	}
	if _, err := os.Stat(filepath.Join(d.Path, "big")); err == nil {
		t.Error("a file was left by an edit that failed")
	}
}
