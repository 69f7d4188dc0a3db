package spec

import "testing"

// BenchmarkNew is what the warm path pays for a spec.
func BenchmarkNew(b *testing.B) {
	img, files, o := alpine()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := New(img, files, o); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkHostileGroup is a group file of a size that a caller might let
// through (CVE-2026-47262).
func BenchmarkHostileGroup(b *testing.B) {
	file := make([]byte, 1<<20)
	for i := range file {
		file[i] = ":\n,"[i%3]
	}
	files := Files{Passwd: []byte("root:x:0:0::/:"), Group: file}
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := ParseUser("root", files); err != nil {
			b.Fatal(err)
		}
	}
}
