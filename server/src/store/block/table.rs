//! One Parquet file of a block: columns in, columns out, each column chunk with a checksum of its own.

use crate::store::block::Error;
use bytes::Bytes;
use parquet::basic::{Compression, Encoding, Repetition, Type as PhysicalType, ZstdLevel};
use parquet::column::reader::ColumnReaderImpl;
use parquet::data_type::{ByteArray, ByteArrayType, DataType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesPtr};
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::serialized_reader::SerializedPageReader;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::{ColumnPath, Type, TypePtr};
use std::fs::{File, OpenOptions};
use std::io::Cursor;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

/// Rows of a row group; a group ends earlier where a service does and enough rows are in it.
pub(super) const GROUP_ROWS: usize = 128 << 10;
/// A query of a service reads whole groups: many small services share one.
pub(super) const MIN_GROUP_ROWS: usize = 16 << 10;
const PAGE_ROWS: usize = 16 << 10;

/// What a column holds. Repeated values go into a dictionary; what does not repeat is stored as differences.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Column {
    Text(&'static str),
    /// 32 bits without a sign.
    Number(&'static str),
    /// The same, from one row to the next mostly a little more.
    Rising(&'static str),
    /// 64 bits with a sign, often the same ones again.
    Value(&'static str),
    RisingValue(&'static str),
}

pub(super) enum Values<'a> {
    /// A text and how often it comes.
    Text(&'a [(ByteArray, usize)]),
    Number(&'a [i32]),
    Value(&'a [i64]),
}

impl Column {
    pub(super) fn name(self) -> &'static str {
        match self {
            Column::Text(name)
            | Column::Number(name)
            | Column::Rising(name)
            | Column::Value(name)
            | Column::RisingValue(name) => name,
        }
    }

    fn field(self) -> Result<TypePtr, ParquetError> {
        let (physical, logical) = match self {
            Column::Text(_) => {
                (PhysicalType::BYTE_ARRAY, Some(parquet::basic::LogicalType::String))
            }
            Column::Number(_) | Column::Rising(_) => {
                (PhysicalType::INT32, Some(parquet::basic::LogicalType::integer(32, false)))
            }
            Column::Value(_) | Column::RisingValue(_) => (PhysicalType::INT64, None),
        };
        let field = Type::primitive_type_builder(self.name(), physical)
            .with_repetition(Repetition::REQUIRED)
            .with_logical_type(logical);
        Ok(Arc::new(field.build()?))
    }

    fn is_rising(self) -> bool {
        matches!(self, Column::Rising(_) | Column::RisingValue(_))
    }
}

fn schema(columns: &[Column]) -> Result<TypePtr, ParquetError> {
    let fields: Result<Vec<TypePtr>, _> = columns.iter().map(|column| column.field()).collect();
    Ok(Arc::new(Type::group_type_builder("profiles").with_fields(fields?).build()?))
}

fn properties(columns: &[Column]) -> WriterPropertiesPtr {
    let mut builder = WriterProperties::builder()
        .set_created_by("pilotlight".to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3).unwrap_or_default()))
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_statistics_enabled(EnabledStatistics::None)
        .set_max_row_group_row_count(None);
    for column in columns {
        let path = ColumnPath::from(column.name());
        builder = match column {
            Column::Text(_) => {
                builder.set_column_statistics_enabled(path, EnabledStatistics::Chunk)
            }
            _ if column.is_rising() => builder
                .set_column_dictionary_enabled(path.clone(), false)
                .set_column_encoding(path, Encoding::DELTA_BINARY_PACKED),
            // Used where the dictionary becomes too large.
            _ => builder.set_column_encoding(path, Encoding::DELTA_BINARY_PACKED),
        };
    }
    Arc::new(builder.build())
}

pub(super) struct TableWriter {
    path: PathBuf,
    writer: SerializedFileWriter<File>,
}

/// What a reader must know of a table's file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct TableFile {
    pub bytes: u64,
    /// Of each row group, of each column.
    pub checksums: Vec<u32>,
    pub n_columns: usize,
    /// Where the columns end, and the checksum of what follows.
    pub footer_start: u64,
    pub footer_checksum: u32,
}

impl TableWriter {
    pub(super) fn create(path: PathBuf, columns: &[Column]) -> Result<TableWriter, Error> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(|err| Error::io("create", &path, err))?;
        let schema = schema(columns).map_err(|err| Error::parquet(&path, err))?;
        let writer = SerializedFileWriter::new(file, schema, properties(columns))
            .map_err(|err| Error::parquet(&path, err))?;
        Ok(TableWriter { path, writer })
    }

    pub(super) fn group(&mut self, columns: &[Values<'_>]) -> Result<(), Error> {
        let path = self.path.clone();
        let mut write = || -> Result<(), ParquetError> {
            let mut group = self.writer.next_row_group()?;
            for values in columns {
                match values {
                    Values::Text(runs) => write_runs(&mut group, runs)?,
                    Values::Number(values) => write_column::<Int32Type>(&mut group, values)?,
                    Values::Value(values) => write_column::<Int64Type>(&mut group, values)?,
                }
            }
            group.close()?;
            Ok(())
        };
        write().map_err(|err| Error::parquet(&path, err))
    }

    /// Durable when it returns, but for its name.
    pub(super) fn finish(mut self) -> Result<TableFile, Error> {
        let path = self.path;
        let metadata = self.writer.finish().map_err(|err| Error::parquet(&path, err))?;
        let file = self.writer.inner();
        file.sync_all().map_err(|err| Error::io("write", &path, err))?;
        let failed = |err| Error::io("read", &path, err);
        let mut table = TableFile {
            bytes: file.metadata().map_err(failed)?.len(),
            n_columns: metadata.file_metadata().schema_descr().num_columns(),
            ..TableFile::default()
        };
        let mut bytes = Vec::new();
        for group in metadata.row_groups() {
            for column in group.columns() {
                let (start, len) = column.byte_range();
                bytes.resize(len as usize, 0);
                file.read_exact_at(&mut bytes, start).map_err(failed)?;
                table.checksums.push(crc32c::crc32c(&bytes));
                table.footer_start = table.footer_start.max(start + len);
            }
        }
        bytes.resize((table.bytes - table.footer_start) as usize, 0);
        file.read_exact_at(&mut bytes, table.footer_start).map_err(failed)?;
        table.footer_checksum = crc32c::crc32c(&bytes);
        Ok(table)
    }
}

fn write_column<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, File>,
    values: &[T::T],
) -> Result<(), ParquetError> {
    let mut column = group.next_column()?.ok_or_else(too_many)?;
    column.typed::<T>().write_batch(values, None, None)?;
    column.close()
}

fn write_runs(
    group: &mut SerializedRowGroupWriter<'_, File>,
    runs: &[(ByteArray, usize)],
) -> Result<(), ParquetError> {
    let mut column = group.next_column()?.ok_or_else(too_many)?;
    let mut batch = Vec::new();
    for (text, count) in runs {
        let mut left = *count;
        while left > 0 {
            let n = left.min(4_096);
            batch.clear();
            batch.resize(n, text.clone());
            column.typed::<ByteArrayType>().write_batch(&batch, None, None)?;
            left -= n;
        }
    }
    column.close()
}

fn too_many() -> ParquetError {
    ParquetError::General("more columns than the schema has".to_owned())
}

/// A table that is there to be read.
pub(super) struct Table {
    path: PathBuf,
    file: TableFile,
    opened: OnceLock<Opened>,
}

struct Opened {
    file: File,
    metadata: ParquetMetaData,
    /// The first row of each row group, and the number of all rows.
    starts: Vec<u64>,
}

/// A column chunk, at its place in the file.
struct Chunk {
    start: u64,
    bytes: Bytes,
}

impl Length for Chunk {
    fn len(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }
}

impl ChunkReader for Chunk {
    type T = Cursor<Bytes>;

    fn get_read(&self, start: u64) -> Result<Cursor<Bytes>, ParquetError> {
        let offset = self.offset(start, 0)?;
        Ok(Cursor::new(self.bytes.slice(offset..)))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let offset = self.offset(start, length)?;
        Ok(self.bytes.slice(offset..offset + length))
    }
}

impl Chunk {
    fn offset(&self, start: u64, length: usize) -> Result<usize, ParquetError> {
        let offset = start.checked_sub(self.start).and_then(|offset| usize::try_from(offset).ok());
        offset
            .filter(|offset| offset.checked_add(length).is_some_and(|end| end <= self.bytes.len()))
            .ok_or_else(|| ParquetError::General("outside of the column".to_owned()))
    }
}

/// A column of a row group that is being read.
pub(super) struct ColumnRows<T: DataType> {
    reader: ColumnReaderImpl<T>,
}

impl<T: DataType> ColumnRows<T> {
    fn read(&mut self, n_rows: usize, into: &mut Vec<T::T>) -> Result<(), ParquetError> {
        into.clear();
        let (n_read, _, _) = self.reader.read_records(n_rows, None, None, into)?;
        if n_read == n_rows && into.len() == n_rows {
            Ok(())
        } else {
            Err(ParquetError::EOF("the column ends early".to_owned()))
        }
    }
}

impl Table {
    pub(super) fn new(path: PathBuf, file: TableFile) -> Table {
        Table { path, file, opened: OnceLock::new() }
    }

    fn opened(&self) -> Result<&Opened, Error> {
        if let Some(opened) = self.opened.get() {
            return Ok(opened);
        }
        let file = File::open(&self.path).map_err(|err| Error::io("open", &self.path, err))?;
        let footer = self.footer(&file)?;
        let metadata = ParquetMetaDataReader::new()
            .parse_and_finish(&footer)
            .map_err(|err| Error::parquet(&self.path, err))?;
        let mut starts = vec![0];
        let mut n_rows = 0;
        for group in metadata.row_groups() {
            n_rows += u64::try_from(group.num_rows()).unwrap_or_default();
            starts.push(n_rows);
        }
        let n_columns = metadata.file_metadata().schema_descr().num_columns();
        if n_columns != self.file.n_columns
            || metadata.num_row_groups() * n_columns != self.file.checksums.len()
        {
            return Err(Error::damaged(&self.path, "its footer is not the one that was written"));
        }
        Ok(self.opened.get_or_init(|| Opened { file, metadata, starts }))
    }

    fn footer(&self, file: &File) -> Result<Chunk, Error> {
        let start = self.file.footer_start;
        let failed = |err| Error::io("read", &self.path, err);
        if file.metadata().map_err(failed)?.len() != self.file.bytes {
            return Err(Error::damaged(&self.path, "it has not the length that was written"));
        }
        let mut bytes = vec![0; self.file.bytes.saturating_sub(start) as usize];
        file.read_exact_at(&mut bytes, start).map_err(failed)?;
        if crc32c::crc32c(&bytes) != self.file.footer_checksum {
            return Err(Error::damaged(&self.path, "its footer's checksum is wrong"));
        }
        Ok(Chunk { start, bytes: bytes.into() })
    }

    /// Gives the rows of each row group that the range has part of: the group, and the range inside it.
    pub(super) fn pieces(
        &self,
        rows: std::ops::Range<u64>,
    ) -> Result<Vec<(usize, std::ops::Range<u64>)>, Error> {
        let opened = self.opened()?;
        if opened.starts.last().is_none_or(|n_rows| *n_rows < rows.end) {
            return Err(Error::damaged(&self.path, "it has fewer rows than its block says"));
        }
        let pieces = opened.starts.windows(2).enumerate().filter_map(|(group, bounds)| {
            let (start, end) = (rows.start.max(bounds[0]), rows.end.min(bounds[1]));
            (start < end).then(|| (group, start - bounds[0]..end - bounds[0]))
        });
        Ok(pieces.collect())
    }

    fn column<T: DataType>(&self, group: usize, column: usize) -> Result<ColumnRows<T>, Error> {
        let opened = self.opened()?;
        let failed = |err| Error::parquet(&self.path, err);
        let group_metadata = opened.metadata.row_group(group);
        let metadata = group_metadata.column(column);
        let (start, len) = metadata.byte_range();
        if len > self.file.bytes {
            return Err(Error::damaged(&self.path, "a column is longer than the file"));
        }
        let mut bytes = vec![0; len as usize];
        opened
            .file
            .read_exact_at(&mut bytes, start)
            .map_err(|err| Error::io("read", &self.path, err))?;
        let checksum = self.file.checksums.get(group * self.file.n_columns + column);
        if checksum != Some(&crc32c::crc32c(&bytes)) {
            return Err(Error::damaged(&self.path, "a column's checksum is wrong"));
        }
        let chunk = Arc::new(Chunk { start, bytes: bytes.into() });
        let n_rows = usize::try_from(group_metadata.num_rows()).unwrap_or_default();
        let pages = SerializedPageReader::new(chunk, metadata, n_rows, None).map_err(failed)?;
        let reader = ColumnReaderImpl::new(metadata.column_descr_ptr(), Box::new(pages));
        Ok(ColumnRows { reader })
    }

    /// Rows of one row group.
    pub(super) fn read<T: DataType>(
        &self,
        (group, rows): &(usize, std::ops::Range<u64>),
        column: usize,
        into: &mut Vec<T::T>,
    ) -> Result<(), Error> {
        let mut reader = self.column::<T>(*group, column)?;
        let failed = |err| Error::parquet(&self.path, err);
        let skip = rows.start as usize;
        if reader.reader.skip_records(skip).map_err(failed)? != skip {
            return Err(Error::damaged(&self.path, "a column ends early"));
        }
        reader.read((rows.end - rows.start) as usize, into).map_err(failed)
    }

    /// Rows of any row groups, together.
    pub(super) fn read_all<T: DataType>(
        &self,
        rows: std::ops::Range<u64>,
        column: usize,
    ) -> Result<Vec<T::T>, Error> {
        let mut all = Vec::new();
        let mut part = Vec::new();
        for piece in self.pieces(rows)? {
            self.read::<T>(&piece, column, &mut part)?;
            all.append(&mut part);
        }
        Ok(all)
    }
}
