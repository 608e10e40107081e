"""The files by which a Slurm cluster on one machine, without cgroups and without real GPUs, is configured."""

from __future__ import annotations

# A node's jobs are requeued when it is silent for SlurmdTimeout and does not answer for MessageTimeout. cred_expire is
# how long a requeued job waits before it may start again, two minutes unless told otherwise. MinJobAge is how long
# squeue knows an ended job. config_overrides lets nodes have more memory than the machine.
SLURM_CONF = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=5
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
MailProg=/bin/true
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=localhost
AccountingStoragePort={accounting_port}
AccountingStoragePass={folder}/munge/socket
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=5
ReturnToService=2
SlurmdTimeout=15
MessageTimeout=5
KillWait=5
OverTimeLimit=0
MinJobAge=300
MaxJobCount=20000
MaxArraySize=1001
StateSaveLocation={folder}/controller
SlurmctldPidFile={folder}/controller/pid
SlurmctldLogFile={folder}/controller/log
SlurmdSpoolDir={folder}/%n/spool
SlurmdPidFile={folder}/%n/pid
SlurmdLogFile={folder}/%n/log
GresTypes=gpu
SlurmdParameters=config_overrides
PartitionName=low Nodes=ALL Default=YES MaxTime=INFINITE PriorityTier=1 GraceTime=10
PartitionName=high Nodes=ALL MaxTime=INFINITE PriorityTier=10 PreemptMode=OFF
"""
NODE = "NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=2 RealMemory=8000 Gres=gpu:1\n"
# Nothing here uses cgroups, but slurmd wants one of its plugins; that of v2 fails where systemd is not.
CGROUP_CONF = "CgroupPlugin=cgroup/v1\n"
# A GPU that is counted and has no device.
GRES = "NodeName={node} Name=gpu File=/dev/null\n"
SLURMDBD_CONF = """\
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
DbdHost=localhost
DbdPort={accounting_port}
SlurmUser={user}
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={database_port}
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm
LogFile={folder}/accounting/log
PidFile={folder}/accounting/pid
"""
DATABASE_SQL = """\
CREATE DATABASE slurm;
CREATE USER slurm@'127.0.0.1' IDENTIFIED BY 'slurm';
CREATE USER slurm@localhost IDENTIFIED BY 'slurm';
GRANT ALL ON slurm.* TO slurm@'127.0.0.1';
GRANT ALL ON slurm.* TO slurm@localhost;
"""
