//! The table: code, name of the code, and who must act where.
//!
//! Codes and names are those of MongoDB's `error_codes.yml`, up to version 8.2, and a few that its code gives
//! without a name there.

use super::act::{Act, Place};
use crate::hold::Refusal;

use Act::{BadRecord, LaneLost, RetrySame, RetryWhole, TakeLess, Wait};

/// `DuplicateKey`.
pub const DUPLICATE_KEY: i32 = 11000;
/// `NamespaceNotFound`.
pub const NAMESPACE_NOT_FOUND: i32 = 26;
/// `CommandNotSupportedOnView`.
pub const COMMAND_NOT_SUPPORTED_ON_VIEW: i32 = 166;
/// `NamespaceExists`.
pub const NAMESPACE_EXISTS: i32 = 48;
/// `InvalidOptions`.
pub const INVALID_OPTIONS: i32 = 72;
/// `Unauthorized`.
pub const UNAUTHORIZED: i32 = 13;

/// `BadValue`: what it is about is in its message only.
pub(super) const BAD_VALUE: i32 = 2;

/// Somebody has to give the right.
const RIGHT: Act = Act::Person(Refusal::NotAuthorized);
/// Somebody has to change a setting, a validator, or make room.
const SETTING: Act = Act::Person(Refusal::WriteRefused);

/// One code.
#[derive(Debug, Clone, Copy)]
pub struct Line {
    /// As the server sends it.
    pub code: i32,
    /// As the server calls it.
    pub name: &'static str,
    in_transaction: Act,
    at_commit: Act,
    outside: Act,
}

impl Line {
    /// Who must act, where it happens there.
    #[must_use]
    pub const fn act(&self, place: Place) -> Act {
        match place {
            Place::Transaction => self.in_transaction,
            Place::Commit => self.at_commit,
            Place::Outside => self.outside,
        }
    }
}

/// The same wherever it happens.
const fn all(code: i32, name: &'static str, act: Act) -> Line {
    each(code, name, [act, act, act])
}

/// Of what is written in a transaction; anywhere else it passes.
const fn tx(code: i32, name: &'static str, act: Act) -> Line {
    each(code, name, [act, act, Wait])
}

const fn each(code: i32, name: &'static str, [in_transaction, at_commit, outside]: [Act; 3]) -> Line {
    Line {
        code,
        name,
        in_transaction,
        at_commit,
        outside,
    }
}

/// The line of a code.
#[must_use]
pub fn line(code: i32) -> Option<&'static Line> {
    TABLE.iter().find(|line| line.code == code)
}

/// Whether it says that a snapshot is not to be had any more: it is older than what the server keeps, or collections,
/// indexes or chunks were changed since.
#[must_use]
pub fn is_of_snapshot(code: i32) -> bool {
    matches!(code, 239 | 246 | 250 | 272)
}

/// While a connection is being authenticated only a refusal of the credentials is anybody's to mend: whatever
/// else goes wrong there, goes wrong with the service that knows them.
pub(super) fn at_log_in(code: i32) -> Act {
    match code {
        18 | 8000 => RIGHT,
        _ => Wait,
    }
}
/// Every code that means something here.
pub const TABLE: &[Line] = &[
    // Conflicts, and what was ended from outside: nothing is wrong with what was to be done.
    tx(1, "InternalError", RetrySame), // nobody knows what became of it
    all(24, "LockTimeout", RetrySame),
    all(43, "CursorNotFound", RetrySame),
    all(46, "LockBusy", RetrySame),
    all(112, "WriteConflict", RetrySame),
    all(117, "ConflictingOperationInProgress", RetrySame),
    all(136, "CappedPositionLost", RetrySame), // a stream that is opened again learns whether it lost anything
    all(175, "QueryPlanKilled", RetrySame),
    all(206, "NoSuchSession", RetrySame),
    all(217, "IncompleteTransactionHistory", RetrySame),
    all(237, "CursorKilled", RetrySame),
    all(239, "SnapshotTooOld", RetrySame),
    all(246, "SnapshotUnavailable", RetrySame),
    all(250, "StaleChunkHistory", RetrySame),
    all(251, "NoSuchTransaction", RetryWhole), // ended for it: by who took a lane over, by an election, or by age
    all(267, "PreparedTransactionInProgress", RetrySame),
    all(272, "MigrationConflict", RetrySame),
    all(279, "ClientDisconnect", RetrySame),
    all(282, "TransactionCoordinatorReachedAbortDecision", RetrySame),
    all(314, "ObjectIsBusy", RetrySame),
    all(355, "InterruptedDueToStorageChange", RetrySame),
    all(356, "TxnRetryCounterTooOld", RetrySame),
    all(11000, "DuplicateKey", RetrySame), // two upserts raced; in a transaction nothing of it is applied
    all(11601, "Interrupted", RetrySame),
    all(46841, "ClientMarkedKilled", RetrySame),
    // Too much for one transaction: of time,
    each(50, "MaxTimeMSExpired", [TakeLess, RetrySame, Wait]),
    each(
        202,
        "NetworkInterfaceExceededTimeLimit",
        [TakeLess, RetrySame, Wait],
    ),
    each(262, "ExceededTimeLimit", [TakeLess, RetrySame, Wait]),
    tx(290, "TransactionExceededLifetimeLimitSeconds", TakeLess),
    // … of memory, and of size.
    tx(146, "ExceededMemoryLimit", TakeLess),
    tx(208, "TooManyLocks", TakeLess),
    tx(257, "TransactionTooLarge", TakeLess),
    tx(388, "TransactionTooLargeForCache", TakeLess),
    // The lane cannot go on from its token.
    each(260, "InvalidResumeToken", [Wait, Wait, LaneLost]),
    each(280, "ChangeStreamFatalError", [Wait, Wait, LaneLost]),
    each(286, "ChangeStreamHistoryLost", [Wait, Wait, LaneLost]),
    // No server would take what follows from the record. (2, BadValue, is judged by its message.)
    tx(14, "TypeMismatch", BadRecord),
    tx(15, "Overflow", BadRecord), // documents in documents, too deep
    tx(16, "InvalidLength", BadRecord),
    tx(22, "InvalidBSON", BadRecord),
    tx(52, "DollarPrefixedFieldName", BadRecord),
    tx(53, "InvalidIdField", BadRecord),
    tx(56, "EmptyFieldName", BadRecord),
    tx(57, "DottedFieldName", BadRecord),
    tx(357, "InvalidBSONType", BadRecord),
    tx(378, "NonConformantBSON", BadRecord),
    tx(10334, "BSONObjectTooLarge", BadRecord),
    tx(17280, "KeyTooLong", BadRecord),
    tx(17419, "the document is too large after the update", BadRecord),
    tx(17420, "the document is too large to be inserted", BadRecord),
    // Elections, shutdowns, maintenance.
    all(6, "HostUnreachable", Wait),
    all(7, "HostNotFound", Wait),
    all(63, "StaleShardVersion", Wait),
    each(64, "WriteConcernTimeout", [Wait, RetrySame, Wait]),
    all(89, "NetworkTimeout", Wait),
    each(91, "ShutdownInProgress", [Wait, RetrySame, Wait]),
    all(94, "NotYetInitialized", Wait),
    all(96, "OperationFailed", Wait),
    all(133, "FailedToSatisfyReadPreference", Wait),
    all(134, "ReadConcernMajorityNotAvailableYet", Wait),
    all(149, "NoConfigPrimary", Wait),
    all(150, "StaleEpoch", Wait),
    all(189, "PrimarySteppedDown", Wait),
    all(203, "ShardingStateNotInitialized", Wait),
    all(216, "ElectionInProgress", Wait),
    all(225, "TransactionTooOld", Wait),
    all(234, "RetryChangeStream", Wait),
    all(249, "StaleDbVersion", Wait),
    all(281, "TransactionCoordinatorSteppingDown", Wait),
    all(317, "ConnectionPoolExpired", Wait),
    all(354, "LoadBalancerSupportMismatch", Wait),
    all(371, "UserWritesBlocked", Wait), // for as long as a cluster is copied
    all(384, "ConnectionError", Wait),
    all(453, "InterruptedDueToReshardingCriticalSection", Wait),
    all(9001, "SocketException", Wait),
    all(10058, "LegacyNotPrimary", Wait),
    all(10107, "NotWritablePrimary", Wait),
    all(11600, "InterruptedAtShutdown", Wait),
    all(11602, "InterruptedDueToReplStateChange", Wait),
    all(13388, "StaleConfig", Wait),
    all(13435, "NotPrimaryNoSecondaryOk", Wait),
    all(13436, "NotPrimaryOrSecondary", Wait),
    all(91331, "RetriableRemoteCommandFailure", Wait),
    all(10_045_600, "InterruptedDueToFCVChange", Wait),
    // A server with too much to do.
    all(261, "TooManyLogicalSessions", Wait),
    all(264, "TooManyFilesOpen", Wait),
    all(365, "TemporarilyUnavailable", Wait),
    all(367, "FLECompactionPlaceholder", Wait),
    all(402, "ResourceExhausted", Wait),
    all(407, "PooledConnectionAcquisitionExceededTimeLimit", Wait),
    all(433, "AdmissionQueueOverflow", Wait),
    all(449, "RateLimitExceeded", Wait),
    all(450, "PooledConnectionAcquisitionRejected", Wait),
    all(462, "IngressRequestRateLimitExceeded", Wait),
    // Keys and authentication services.
    all(211, "KeyNotFound", Wait),
    all(337, "AuthenticationAbandoned", Wait),
    all(391, "ReauthenticationRequired", Wait),
    all(404, "LDAPRoleAcquisitionError", Wait),
    // Somebody has to give the right,
    all(11, "UserNotFound", RIGHT),
    all(13, "Unauthorized", RIGHT),
    all(18, "AuthenticationFailed", RIGHT),
    all(31, "RoleNotFound", RIGHT),
    all(33, "PrivilegeNotFound", RIGHT),
    all(214, "AuthenticationRestrictionUnmet", RIGHT),
    all(334, "MechanismUnavailable", RIGHT),
    // … or change a setting, a validator, or make room.
    all(20, "IllegalOperation", SETTING), // no replica set any more
    all(26, "NamespaceNotFound", SETTING),
    all(59, "CommandNotFound", SETTING),
    all(72, "InvalidOptions", SETTING),
    all(73, "InvalidNamespace", SETTING),
    all(76, "NoReplicationEnabled", SETTING),
    all(79, "UnknownReplWriteConcern", SETTING),
    all(100, "UnsatisfiableWriteConcern", SETTING), // fewer members that bear data than a majority
    all(115, "CommandNotSupported", SETTING),
    all(116, "DocTooLargeForCapped", SETTING),
    all(121, "DocumentValidationFailure", SETTING),
    all(123, "NotAReplicaSet", SETTING),
    all(148, "ReadConcernMajorityNotEnabled", SETTING),
    all(166, "CommandNotSupportedOnView", SETTING),
    all(263, "OperationNotSupportedInTransaction", SETTING),
    all(322, "APIVersionError", SETTING),
    all(323, "APIStrictError", SETTING),
    all(324, "APIDeprecationError", SETTING),
    all(347, "APIMismatchError", SETTING),
    all(411, "QueryRejectedBySettings", SETTING),
    all(8000, "AtlasError", SETTING), // a quota, or an operation that the service does not offer
    all(10003, "CannotGrowDocumentInCappedNamespace", SETTING),
    all(13297, "DatabaseDifferCase", SETTING),
    all(14031, "OutOfDiskSpace", SETTING),
    all(40573, "change streams are only there on a replica set", SETTING),
];
