// Package cache keeps blobs, flattened roots and the references to them in a
// directory that processes share, without a daemon and without an index.
//
// What it promises:
//
//   - A name that exists is whole. Everything is made under tmp/, synced, and
//     appears under its name by one rename. Kill -9, a full disk or a power
//     failure leave the old state or the new one, and at worst a directory in
//     tmp/ that the next process removes.
//   - One producer. However many goroutines and processes ask for a blob or a
//     root at once, one makes it, the others wait and find it. If the producer
//     dies, the kernel drops its lock and the next one takes over.
//   - It keeps to its own. A directory that holds anything else doesn't become a
//     cache, and of what is in one, only what umiak made is ever swept away.
//   - What is leased stays. A Root is held by a shared lock on its directory, and
//     Collect passes it by.
//   - What is damaged is missing: the error is ErrMissing with a reason, and
//     making the thing again puts it right. The user never has to repair.
//   - Looking up is cheap. Opening a cache that is there, Ref and Lease write nothing, take no exclusive
//     lock and read a few small files, so that they stay as fast with hundreds
//     of processes at once, and on a read-only file system.
//
// What it doesn't: it doesn't watch over the content of a root after it was
// made (never write into one), it doesn't read a blob's bytes again unless
// Put is called for it (read them through digest.NewReader), and on file
// systems without flock(2) it doesn't work at all.
//
// # On disk
//
// This is format 1. All directories have mode 0700: image trees hold setuid
// programs of any age, which must not be reached past the container.
//
//	umiak-cache             says that this is a cache, and its format; written last, so it
//	                        marks the layout as made
//	README                  says what this is to people
//	blobs/sha256/<hex>      content, named by its digest; mode 0444, never changed
//	blobs/sha512/<hex>
//	roots/<id>/             flattened trees; what is inside is up to whoever made it
//	refs/<sha256 of name>   what a name stands for
//	locks/writing           held shared by whoever adds, exclusively by Collect; never removed
//	locks/blob-<alg>-<hex>  held exclusively by the producer of a blob, who removes it
//	locks/root-<id>         the same for a root, and for who discards one
//	tmp/umiak-<random>/     work in progress, held exclusively by whoever works there
//	state/                  not the cache's: the state of runs
//
// All locks are those of flock(2), and a file's or directory's presence alone
// means nothing: a directory in tmp/ that can be locked belongs to a process
// that is dead, and is removed.
//
// Only a directory with the file umiak-cache is a cache, and only an empty one is
// made into one, by creating that file before anything else. The file has the line
//
//	umiak cache, format 1
//
// or is empty while the cache is being made. A directory that is not empty and has
// no such file isn't touched, nor is a cache of a later format.
//
// A blob may carry its size in the extended attribute user.umiak.size, as
// decimal text, where the file system has such attributes. A blob of another
// size is damaged.
//
// A reference is a small file, replaced by rename and never changed in place;
// when it was last set is its modification time. It consists of
//
//	umiak ref 1 sha256:<hash of all that follows this line>\n
//	<name, quoted as in Go>\n
//	<data, to the end of the file>
//
// A file where the hash or the name doesn't fit is damaged. The name of the
// file is a hash since names have slashes, colons and no limit of 255 bytes.
//
// A lease is a shared lock on the directory roots/<id> itself. It is taken
// without waiting and counts only if roots/<id> is still that directory once
// it's locked; a root that somebody holds exclusively is about to go, and is
// missing. To remove a root one takes it exclusively, without waiting either,
// renames it into tmp/ (so that nobody ever sees half of it), and deletes it
// there under the same lock.
//
// Order of locks: writing, then root, then blob. Only locks/root-* and
// locks/blob-* are ever waited for while another one is held, so there is no
// circle to wait in.
package cache
