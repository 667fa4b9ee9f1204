//! NumPy's `.npz` archives: ZIP files of `.npy` files.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use onnx2int_graph::Tensor;
use zip::ZipArchive;

use crate::DatasetError;
use crate::array::Purpose;
use crate::npy::{self, Header};

/// How a ZIP file begins, with a file or with none.
pub(crate) const MAGICS: [&[u8]; 2] = [b"PK\x03\x04", b"PK\x05\x06"];

/// No header of a `.npy` file that NumPy writes is longer.
const LONGEST_HEADER: u64 = 1 << 16;

/// An archive whose arrays are read when they are asked for.
pub(crate) struct Npz<'p> {
    path: &'p Path,
    archive: ZipArchive<BufReader<File>>,
}

/// An array of an archive, as its header tells it.
struct Entry {
    /// Without the ending `.npy`.
    name: String,
    header: Header,
}

impl<'p> Npz<'p> {
    /// # Errors
    /// [`DatasetError::Io`] or [`DatasetError::Npz`].
    pub(crate) fn open(path: &'p Path) -> Result<Self, DatasetError> {
        let file = File::open(path).map_err(|source| DatasetError::Io {
            action: "read",
            path: path.to_owned(),
            source,
        })?;
        let archive = ZipArchive::new(BufReader::new(file)).map_err(|error| damaged(path, &error))?;
        Ok(Self { path, archive })
    }

    /// The array called `name`, or without a name the only one that can serve the purpose.
    ///
    /// # Errors
    /// [`DatasetError::NoArray`] where there is none, or where several could be meant; a damaged
    /// archive; an array that no tensor holds.
    pub(crate) fn array(&mut self, name: Option<&str>, purpose: Purpose) -> Result<Tensor, DatasetError> {
        let entries = self.entries()?;
        let suits = |entry: &&Entry| match name {
            Some(name) => entry.name == name,
            None => purpose.is_served_by(&entry.header),
        };
        let found: Vec<&Entry> = entries.iter().filter(suits).collect();
        let [entry] = found.as_slice() else {
            let listed = entries
                .iter()
                .map(|Entry { name, header }| format!("\n  {name}: {} {:?}", header.descr, header.shape));
            return Err(DatasetError::NoArray {
                path: self.path.to_owned(),
                expected: match name {
                    Some(name) => format!("an array {name:?}"),
                    None => format!("one array of {purpose}, or its name as {:?}:NAME", self.path),
                },
                arrays: if entries.is_empty() { " no array".to_owned() } else { listed.collect() },
            });
        };
        self.read(&entry.name)
    }

    fn read(&mut self, name: &str) -> Result<Tensor, DatasetError> {
        let bytes = self.bytes(name, u64::MAX)?;
        npy::decode(&bytes).map_err(|source| DatasetError::Npy { path: self.path.join(name), source })
    }

    /// The labels of so many images, where one array and no other can be these.
    pub(crate) fn labels_of(&mut self, images: usize) -> Result<Option<Tensor>, DatasetError> {
        let entries = self.entries()?;
        let suits =
            |entry: &&Entry| Purpose::Labels.is_served_by(&entry.header) && entry.header.shape[0] == images;
        let found: Vec<&Entry> = entries.iter().filter(suits).collect();
        match found.as_slice() {
            [entry] => self.read(&entry.name).map(Some),
            // Of several nobody said which.
            _ => Ok(None),
        }
    }

    /// All arrays, in the order of their names; other files in the archive are none.
    fn entries(&mut self) -> Result<Vec<Entry>, DatasetError> {
        let mut names = Vec::new();
        for name in self.archive.file_names() {
            let name = name.map_err(|error| damaged(self.path, &error))?;
            names.extend(name.strip_suffix(".npy").map(str::to_owned));
        }
        names.sort();
        names
            .into_iter()
            .map(|name| {
                let start = self.bytes(&name, LONGEST_HEADER)?;
                let header = npy::header(&start).map(|(header, _)| header);
                let header =
                    header.map_err(|source| DatasetError::Npy { path: self.path.join(&name), source })?;
                Ok(Entry { name, header })
            })
            .collect()
    }

    /// The first bytes of an array's file, at most `limit`; they grow with what is there.
    fn bytes(&mut self, name: &str, limit: u64) -> Result<Vec<u8>, DatasetError> {
        let entry =
            self.archive.by_name(&format!("{name}.npy")).map_err(|error| damaged(self.path, &error))?;
        let mut bytes = Vec::new();
        entry.take(limit).read_to_end(&mut bytes).map_err(|error| damaged(self.path, &error))?;
        Ok(bytes)
    }
}

fn damaged(path: &Path, reason: &dyn std::error::Error) -> DatasetError {
    DatasetError::Npz { path: path.to_owned(), reason: reason.to_string() }
}
