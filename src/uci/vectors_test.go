package uci

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

type vector struct {
	Name             string
	Accepted, XShow  bool
	ExportParsesBack bool `json:"export_parses_back"`
}

func load[T any](t testing.TB, name string) T {
	t.Helper()
	var v T
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err == nil {
		err = json.Unmarshal(b, &v)
	}
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func read(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestFilesAsTheRealUCIReadsThem(t *testing.T) {
	vectors := load[[]vector](t, "index.json")
	if len(vectors) < 100 {
		t.Fatalf("%d vectors", len(vectors))
	}
	for _, v := range vectors {
		t.Run(v.Name, func(t *testing.T) {
			in := read(t, v.Name+".uci")
			f, err := Parse(v.Name, in)
			if !v.Accepted {
				var at *ParseError
				if !errors.As(err, &at) || at.Line < 1 || at.Column < 1 {
					t.Fatalf("want it refused with line and column, got %v", err)
				}
				return
			}
			if err != nil {
				t.Fatalf("refused: %v", err)
			}
			if !bytes.Equal(f.Bytes(), in) {
				t.Errorf("unchanged, it is written as\n%q, was\n%q", f.Bytes(), in)
			}
			same(t, "show", f.Show(false), read(t, v.Name+".show"))
			if v.XShow {
				same(t, "show -X", f.Show(true), read(t, v.Name+".xshow"))
			}
			same(t, "export", f.Export(), read(t, v.Name+".export"))
			again, err := Parse(v.Name, f.Export())
			if back := err == nil && bytes.Equal(again.Export(), f.Export()); back != v.ExportParsesBack {
				t.Errorf("export parses back: %v (%v), want %v", back, err, v.ExportParsesBack)
			}
		})
	}
}

func same(t *testing.T, what string, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Errorf("%s is\n%q, want\n%q", what, got, want)
	}
}

type outcome struct {
	Exit           int
	Stdout, Stderr string
}

type mutation struct {
	Name, File    string
	Commands      [][]string
	Outcomes      []outcome
	ResultFile    string   `json:"result_file"`
	ResultExport  string   `json:"result_export"`
	FileRewritten bool     `json:"file_rewritten"`
	ExportBefore  *string  `json:"export_before_commit"`
	ExportError   *outcome `json:"result_export_error"`
	Differs       *bool    `json:"file_differs_from_export"`
}
